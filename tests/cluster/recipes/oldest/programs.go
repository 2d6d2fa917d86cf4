//go:build programs

// Package programs names what is built of the oldest Kubernetes that the mesh runs with, so that go.mod keeps what it needs.
package programs

import _ "k8s.io/kubernetes/cmd/kube-apiserver"

//go:build programs

// Package programs names what is built of Helm, so that go.mod keeps what it needs.
package programs

import _ "helm.sh/helm/v3/cmd/helm"

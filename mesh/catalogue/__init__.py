"""What the control plane knows: Kubernetes objects in, workloads, services and policies out, change by change."""

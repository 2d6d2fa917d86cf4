"""The control plane on the API of Kubernetes: what it reads there, whom it believes, what it keeps and writes there."""

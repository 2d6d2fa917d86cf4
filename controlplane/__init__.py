"""The control plane: manifests in; discovery (delta xDS) and certificates out."""

"""What every process of docs/runtime.md has around its decisions: settings, log lines, listening sockets, the manifests that it follows."""

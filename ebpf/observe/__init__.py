"""What the kernel says about a pod's TCP connections: a bcc program on tracepoints, and the table that its events make."""

"""What the node proxy says of its connections: access-log lines, metrics, and the log of everything else."""

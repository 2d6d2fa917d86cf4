"""What the agent does in the node's own network namespace: the connections of the node's processes are known as such."""

"""The agent in a cluster: which pods its node has, where their network namespaces are, and what the cluster is told of them."""

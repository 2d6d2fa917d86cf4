"""Nodes and pods of a cluster as network namespaces of one machine."""

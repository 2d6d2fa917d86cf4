"""A pod is captured before its first packet: the CNI plugin asks the agent, which also puts the plugin in its place."""

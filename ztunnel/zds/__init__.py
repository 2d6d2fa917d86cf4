"""The enrolment protocol: the agent tells which pods are on this node, and hands over their network namespaces."""

"""How much the nodes take of one workload or service. The control plane makes no more of anybody's objects.

What a node refuses it keeps as it was before: who could have it refuse his pods would be out of reach of policies that come later.
"""

# Kubernetes itself holds no service of so many ports, and no pod behind so many services.
MAX_PORTS = 1024
MAX_SERVICES = 4096
# Policies that select one workload; each is asked for every connection to it.
MAX_POLICIES = 4096

"""Who may connect: authorization policies, from manifests to a verdict on one connection."""

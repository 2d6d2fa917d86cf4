"""What this node knows of the mesh, and the delta xDS stream that tells it."""

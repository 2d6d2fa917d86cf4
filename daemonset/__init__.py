"""The node agent: which pods of its node are in the mesh, and the capture of their connections."""

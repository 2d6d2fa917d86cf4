"""The programs of the mesh in the kernel: those that capture, and those that observe."""

"""Measures the mesh against no mesh and against a pair of Envoys. See docs/performance.md."""

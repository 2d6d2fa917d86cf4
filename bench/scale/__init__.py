"""The mesh at the size of a large cluster, simulated: manifests of 100,000 workloads, and the real processes that read them."""

"""Programs that the sample manifests run in pods."""

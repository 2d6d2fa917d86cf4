"""Certificates for the identities of this node's pods: asked for, checked, renewed, never on disk."""

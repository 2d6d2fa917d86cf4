"""The command `ambient`."""

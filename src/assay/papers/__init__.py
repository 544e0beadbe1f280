"""The entries: one folder a paper."""

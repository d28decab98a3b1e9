"""A study of the synthetic world against its truth."""

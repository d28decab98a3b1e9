"""Land, its regions and its cells without a flux."""

"""The model over cells and months, and the products it is written to."""

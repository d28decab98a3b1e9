"""What was observed, where and how well: one module or folder per constraint. A constraint knows no network."""

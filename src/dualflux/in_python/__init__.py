"""Studies and runs as Python objects: what `import dualflux` offers."""

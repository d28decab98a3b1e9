"""The flux model and its spatial effect. It knows no constraint."""

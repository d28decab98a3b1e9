"""Predictors from files on the cells of the study."""

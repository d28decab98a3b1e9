"""Readers: one folder for each key of the study file that names files, and what several of them share."""

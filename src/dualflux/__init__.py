"""dualflux: one flux model trained on eddy-covariance towers and atmospheric inversions."""

__version__ = "0.1.0.dev0"

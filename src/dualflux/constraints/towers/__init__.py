"""Eddy covariance towers as a constraint: points, a heavy-tailed error, and effects that only they see."""

"""Regional monthly integrals of an ensemble of inversions as a constraint."""

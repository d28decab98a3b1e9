"""How networks are fitted to constraints: objective, training, posterior draws of the linear parts, ensembles, folds, weights."""

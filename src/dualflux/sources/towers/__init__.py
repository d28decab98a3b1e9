"""Eddy-covariance towers: plain tables and FLUXNET/ONEFlux files as one checked table of NEE."""

from dualflux.sources.towers.fluxnet import FluxnetSource
from dualflux.sources.towers.read import Towers, TowerSource, read_towers, tower_summary
from dualflux.sources.towers.table import TableSource

__all__ = ["FluxnetSource", "TableSource", "TowerSource", "Towers", "read_towers", "tower_summary"]

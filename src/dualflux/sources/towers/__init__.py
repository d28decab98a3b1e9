"""Eddy-covariance towers: plain tables and the files of the tower networks as one checked table of NEE."""

from dualflux.sources.towers.read import TowerSource, read_towers
from dualflux.sources.towers.settings import FluxnetSource
from dualflux.sources.towers.summary import citations, site_table, tower_summary
from dualflux.sources.towers.table import TableSource
from dualflux.sources.towers.towers import Towers

__all__ = ["FluxnetSource", "TableSource", "TowerSource", "Towers", "citations", "read_towers", "site_table", "tower_summary"]

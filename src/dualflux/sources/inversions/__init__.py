"""Atmospheric inversions: regional tables and gridded files as monthly regional integrals."""

from dualflux.sources.inversions.contents import Contents, Fire, contents, includes_fire, river_adjusted
from dualflux.sources.inversions.read import Inversions, read_inversions
from dualflux.sources.inversions.record import UNIT
from dualflux.sources.inversions.settings import InversionSource

__all__ = ["UNIT", "Contents", "Fire", "InversionSource", "Inversions", "contents", "includes_fire", "read_inversions", "river_adjusted"]

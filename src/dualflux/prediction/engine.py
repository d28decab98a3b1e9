"""A model walked over tiles of land: what `run` and `predict` have in common, wherever predictors lie and products go."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.cube import Steps
from dualflux.errors import InputError
from dualflux.grid import LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel
from dualflux.model.time_effect import time_fields
from dualflux.prediction.kernel import TILE, EnsembleKernel, Found, Members, Statistics, Tile, field_to_lanes, months_of
from dualflux.prediction.tiles import Tiles

KEPT_TILES = 64  # whose invariant columns are kept: the same tiles are walked over one span after the other

T = TypeVar("T")
V = TypeVar("V")


class Engine:
    """Members over tiles; what is found does not depend on who walks, on how many threads, or when.

    Parameters
    ----------
    model : FluxModel
        Stacked members, see `stack_ensembles`.
    source : Tiles
    steps : Steps
        The time axis of `source`.
    effect : callable
        `fields` of the members at some cells (a slice), (member, harmonic + series, cell) [gC m-2 d-1].
    each_step : bool
        Statistics of each step too.
    anomaly : RegionalAnomalies, optional
        What no predictor carries, drawn for each member and month of `steps`.
    """

    def __init__(
        self, model: FluxModel, source: Tiles, steps: Steps, effect: Callable[[slice], np.ndarray], each_step: bool = False,
        anomaly: "RegionalAnomalies | None" = None,
    ) -> None:  # fmt: skip
        self.source, self.steps, self.effect, self.each_step, self.anomaly = source, steps, effect, each_step, anomaly
        self.cells = source.tiles()
        self.members = len(model.spatial)
        self.kernel = EnsembleKernel(model, source.shape, each_step)
        self._invariant = lru_cache(maxsize=KEPT_TILES)(self._read_invariant)

    def walk(self, tiles: range, span: slice, threads: int = 1) -> Found:
        """All members over neighbouring tiles and a span of months.

        Parameters
        ----------
        tiles : range
            None for a band without modelled land.
        span : slice
            Of months; not longer than the source's `shape.months`.
        threads : int
            That share the tiles; one computes a tile while the next is read.

        Returns
        -------
        Found
            With cells in place of lanes.
        """
        length = span.stop - span.start
        if not len(tiles):
            return self._empty(length, 0)
        first = self.cells[tiles.start].start
        months = months_of(self.steps, span, self.source.shape.months, self.source.series)
        whole = self._empty(length, self.cells[tiles.stop - 1].stop - first)

        def compute(tile: int, inputs: Tile) -> None:
            own = self.cells[tile]
            found, place = self.kernel(inputs, months), slice(own.start - first, own.stop - first)
            for values, part in zip(jax.tree.leaves(whole), jax.tree.leaves(found), strict=True):
                values[..., place] = part[:length, ..., : own.stop - own.start]

        if threads == 1:
            for tile, inputs in read_ahead(lambda tile: self.read(tile, span), tiles):
                compute(tile, inputs)
            return whole
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda tile: compute(tile, self.read(tile, span)), tiles))
        return whole

    def read(self, tile: int, span: slice) -> Tile:
        """What the kernel needs of a tile over a span."""
        static, seasonal, field = self._invariant(tile)
        return Tile(static, seasonal, self.source.read(tile, span), field, self._anomaly(self.cells[tile], span))

    def _anomaly(self, cells: slice, span: slice) -> np.ndarray:
        """Of a tile over a span, padded to the months of a whole one."""
        found = np.zeros((self.source.shape.months, self.members, TILE), dtype=np.float32)
        if self.anomaly is not None:
            found[: span.stop - span.start, :, : cells.stop - cells.start] = self.anomaly.at(cells, span)
        return found

    def _read_invariant(self, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return *self.source.invariant(tile), field_to_lanes(self.effect(self.cells[tile]))

    def _empty(self, months: int, cells: int) -> Found:
        members = (np.empty((months, self.members, cells), dtype=np.float32) for _ in Members._fields)
        steps = (np.empty((months, self.source.shape.steps, cells), dtype=np.float32) for _ in Statistics._fields)
        return Found(Members(*members), Statistics(*steps) if self.each_step else None)


class RegionalAnomalies(NamedTuple):
    """Anomalies of regions as cells have them.

    Attributes
    ----------
    flux : array, (member, month, region)
        [gC m-2 d-1]
    share : callable
        Part of each cell's land that a region has, of some cells (a slice), (region, cell).
    """

    flux: np.ndarray
    share: Callable[[slice], np.ndarray]

    def at(self, cells: slice, span: slice) -> np.ndarray:
        """Of some cells over a span of months, (month, member, cell)."""
        return np.asarray(np.einsum("kmr,rc->mkc", self.flux[:, span], self.share(cells)))

    def times(self, scale: np.ndarray) -> "RegionalAnomalies":
        """With cells that have so much of them, (cell,): the kernel scales those it is given by itself."""
        return self._replace(share=lambda own: self.share(own) * scale[own])


def drawn_anomalies(ensembles: list[Ensemble], months: pd.DatetimeIndex, cells: LandCells) -> RegionalAnomalies:
    """What members of some ensembles, one after the other, do not know of any months: draws of the prior; 0 of those without.

    Raises
    ------
    InputError
        Other regions than those of training.
    """
    for effect in (e.anomaly for e in ensembles if e.anomaly is not None):
        if effect.regions != cells.region_names:
            raise InputError(
                f"regions: the networks were trained with {', '.join(effect.regions)}; now there are {', '.join(cells.region_names)}; use "
                "the regions of their training"
            )
    nothing = (len(months), len(cells.region_names))
    each = [np.zeros((e.size, *nothing)) if e.anomaly is None else e.anomaly.prior_draws(months) for e in ensembles]
    return RegionalAnomalies(np.concatenate(each), _shares(cells))


def learnt_anomalies(ensembles: list[Ensemble], months: pd.DatetimeIndex, cells: LandCells) -> RegionalAnomalies:
    """What data have told members of the same: draws of the posterior; NaN where there is none, outside the fitted years too."""
    nothing = (len(months), len(cells.region_names))
    each = [np.full((e.size, *nothing), np.nan) if e.anomaly is None else e.anomaly.posterior_draws(months) for e in ensembles]
    return RegionalAnomalies(np.concatenate(each), _shares(cells))


def _shares(cells: LandCells) -> Callable[[slice], np.ndarray]:
    return lambda own: np.asarray(cells.region_fraction[:, own], dtype=np.float64)


def fields(model: FluxModel, place: np.ndarray, lat: np.ndarray, beyond: np.ndarray | None = None) -> np.ndarray:
    """What every member's time functions are multiplied by at some cells, `kernel.Tile`, (member, harmonic + series, cell) [gC m-2 d-1].

    Parameters
    ----------
    place : array, (cell, function)
        The members' spatial basis at the cells.
    lat : array, (cell,)
        [degrees]
    beyond : array, (member, cell), optional
        What lasts and is no part of the model, see `model.distance_effect` [gC m-2 d-1].
    """
    spatial = np.asarray(model.spatial, dtype=np.float64) @ np.asarray(place, dtype=np.float64).T
    if beyond is not None:
        spatial[:, 0] += beyond
    return np.concatenate([spatial, time_fields(np.asarray(model.series), lat)], axis=1)


def stack_ensembles(ensembles: list[Ensemble]) -> FluxModel:
    """All members of several ensembles of one spatial basis in one pytree; the number of site effects may differ: they are left out."""
    models = [e.model for e in ensembles]
    bare = [m.bare() for m in models]
    return jax.tree.map(lambda *leaves: jnp.concatenate([jnp.asarray(a) for a in leaves]), *bare)


def integrate_month(flux: np.ndarray, cells: LandCells, days: float) -> np.ndarray:
    """Regional and global integrals [PgC month-1], (..., region + 1), of (..., cell); sums in float64."""
    return integrate_months(np.asarray(flux)[None], cells, np.array([days]))[0]


def integrate_months(flux: np.ndarray, cells: LandCells, days: np.ndarray) -> np.ndarray:
    """The same of (month, ..., cell), `days` of each month, (month, ..., region + 1); one month is held in double precision at a time."""
    operator = regional_operator(cells)
    return np.stack([(operator @ month.astype(np.float64).T).T * n for month, n in zip(flux, days, strict=True)])


def read_ahead(read: Callable[[T], V], items: Sequence[T]) -> Iterator[tuple[T, V]]:
    """Each item with what was read for it, while the next is being read."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, items[0]) if len(items) else None
        for place, item in enumerate(items):
            if waiting is None:
                return
            found = waiting.result()
            waiting = reader.submit(read, items[place + 1]) if place + 1 < len(items) else None
            yield item, found

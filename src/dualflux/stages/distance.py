"""Errors at a distance from towers: estimated from left-out towers, kept with the models, drawn in products."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from dualflux.constraints.towers.fold_design import held_out_km
from dualflux.grid import LandCells
from dualflux.model.distance_effect import DistanceEffect, TowerDistance, draw_coefficients, growth
from dualflux.model.ensemble import Ensemble
from dualflux.model.spatial_effect import SpatialBasis, SpatialSettings
from dualflux.prediction.distance_error import (
    COLUMNS,
    Slope,
    anomalies,
    correlation_length,
    fit_slope,
    independent_share,
    monthly_residuals,
    pairs_by_distance,
)
from dualflux.prediction.uncertainty import TowerReach, cell_scale_variance, held_out_distance
from dualflux.prepared import Prepared
from dualflux.variants import Variant

TABLE = "models/distance.csv"
OWN_VARIANCE = "own_variance"
SHARE = 0.1  # prior mean of the slope over u's prior variance: members have u's prior and that of patterns far from data already
_VARIANCE = "(gC m-2 d-1)^2"
_Row = tuple[str, str, str, float, float, float, int, str]


def with_distance(
    own: Mapping[str, Ensemble], variants: Mapping[str, Variant], predictions: pd.DataFrame, prepared: Prepared, spatial: SpatialSettings,
    seed: int,
) -> tuple[dict[str, Ensemble], pd.DataFrame]:  # fmt: skip
    """Ensembles with what they err by far from towers, of variants that were trained on towers, and the table `distance.csv`.

    Returns
    -------
    dict of str to Ensemble
    DataFrame
        product, part (`lasting`, `anomaly`), quantity, distance (class of pairs [km]), value, lower, upper (of 90 %), n, unit; empty
        without towers.
    """
    found, tables = dict(own), [pd.DataFrame(columns=COLUMNS)]
    for name, ensemble in own.items():
        mine, trained = predictions[predictions["product"] == name], variants[name]
        if mine.empty:
            continue
        rows, slope = _estimate(mine, prepared, ensemble.basis, spatial, trained.towers)
        tables.append(pd.DataFrame(rows, columns=COLUMNS[1:]).assign(product=name)[COLUMNS])
        if slope is None:
            continue
        key = zlib.crc32(f"distance/{name}".encode())
        seeds: list[tuple[int, ...]] = [(seed, key, place // 2, 1 - 2 * (place % 2)) for place in range(ensemble.size)]
        towers = tower_distance(prepared, ensemble.basis)
        closed = "inversions" in trained.constraints
        effect = drawn_effect(
            slope, towers, ensemble.basis, prepared.cells, prepared.cube.mean_year(), seeds, closed, prepared.cube.vegetated()
        )
        found[name] = replace(ensemble, distance=effect)
    return found, pd.concat(tables[1:] or tables, ignore_index=True)


def drawn_effect(
    slope: float, towers: TowerDistance, basis: SpatialBasis, cells: LandCells, place: np.ndarray, seeds: list[tuple[int, ...]],
    closed: bool, vegetated: np.ndarray | float = 1.0,
) -> DistanceEffect:  # fmt: skip
    """The field of members with these seeds; `closed`: its integral over each region is zero.

    Parameters
    ----------
    place : array, (cell, feature)
        See `cube.Cube.mean_year`.
    vegetated : array, (cell,)
        Vegetation scale, which the field is multiplied by where it is added to the flux.
    """
    known = None
    if closed:
        size = (vegetated * np.sqrt(towers.growth(cells.lat(), cells.lon(), place)))[:, None]
        share = cells.region_area / cells.region_area.sum(axis=1, keepdims=True)
        known = share @ (size * basis.at(cells.lat(), cells.lon()))
    return DistanceEffect(slope, towers, draw_coefficients(seeds, basis.size, known))


def tower_distance(prepared: Prepared, basis: SpatialBasis) -> TowerDistance:
    """From all towers of the study, in units of u's correlation length and of `applicability`."""
    sites, place = prepared.sites, prepared.cube.mean_year()[prepared.sites.cell.to_numpy()]
    apart = TowerReach.of(place, sites.fold.to_numpy()).apart
    return TowerDistance(sites.lat.to_numpy(), sites.lon.to_numpy(), place, basis.length, apart)


def far_from_towers(ensembles: list[Ensemble], prepared: Prepared, basis: np.ndarray) -> np.ndarray:
    """The field of all members of ensembles, one after the other, in the study's cells, (member, cell); 0 of those without.

    Parameters
    ----------
    basis : array, (cell, function)
        The members' spatial basis at the cells.
    """
    cells, place = prepared.cells, prepared.cube.mean_year()
    nothing = len(cells.index)
    return np.concatenate([
        np.zeros((e.size, nothing)) if e.distance is None else e.distance.field(cells.lat(), cells.lon(), place, basis) for e in ensembles
    ])  # fmt: skip


def own_variance(table: pd.DataFrame) -> dict[str, float]:
    """Variance of each product that a cell has of its own, of all parts [(gC m-2 d-1)^2]."""
    rows = table[table["quantity"] == OWN_VARIANCE]
    return {str(name): float(value) for name, value in rows.groupby("product").value.sum().items()}


def _estimate(
    predictions: pd.DataFrame, prepared: Prepared, basis: SpatialBasis, spatial: SpatialSettings, trained: bool
) -> tuple[list[_Row], float | None]:
    """Rows of one product, and the slope of what lasts where the product is `trained` on towers, so that some stand out of a fold."""
    sites = prepared.sites[prepared.sites.index.isin(predictions.site.unique())]
    anomaly = anomalies(monthly_residuals(predictions)[sites.index])
    lasting = (predictions.observed - predictions.tower_like).groupby(predictions.site).mean()[sites.index]
    lasting -= lasting.mean()  # what all sites have in common is no error of single cells
    members = (predictions["std"] ** 2).groupby(predictions.site).mean()[sites.index].to_numpy()
    square = {"lasting": lasting**2, "anomaly": (anomaly**2).mean()}
    slopes = _slopes(square, members, prepared, basis, spatial) if trained else {}
    alone = cell_scale_variance(lasting, sites.cell)[1] - float(members.mean()) - (slopes["lasting"][1] if trained else 0.0)
    found = {
        "lasting": pairs_by_distance(lasting.to_frame().T / lasting.std(ddof=0), sites),
        "anomaly": pairs_by_distance(anomaly.div(np.sqrt((anomaly**2).mean()), axis=1), sites),
    }
    own = {"lasting": max(alone, 0.0), "anomaly": float(square["anomaly"].mean()) * independent_share(found["anomaly"])}
    rows = [row for part in own for row in _rows(part, slopes.get(part, (None, 0.0))[0], found[part], own[part], len(sites))]
    return rows, slopes["lasting"][0].value if trained else None


def _slopes(
    square: Mapping[str, pd.Series], members: np.ndarray, prepared: Prepared, basis: SpatialBasis, spatial: SpatialSettings
) -> dict[str, tuple[Slope, float]]:
    """By part: the slope, and the mean variance that it gives at left-out sites; `square` (site,) of each part, `members` of what lasts."""
    sites, distance = prepared.sites.loc[square["lasting"].index], tower_distance(prepared, basis)
    fold, place = sites.fold.to_numpy(), prepared.cube.mean_year()[sites.cell.to_numpy()]
    km = held_out_km(sites.lat.to_numpy(), sites.lon.to_numpy(), fold)
    h = growth(km / distance.length, held_out_distance(place, fold) / distance.apart)
    weight, found = 1 / sites.groupby("group").cell.transform("size").to_numpy(), {}
    for part, known, prior in (("lasting", members, SHARE * spatial.mean_sd**2), ("anomaly", 0 * members, SHARE * spatial.season_sd**2)):
        values = square[part].to_numpy()
        seen = np.isfinite(values)
        slope = fit_slope(values[seen], h[seen], known[seen], weight[seen], prior)
        found[part] = slope, slope.value * float(h.mean())
    return found


def _rows(part: str, slope: Slope | None, pairs: pd.DataFrame, alone: float, count: int) -> Iterator[_Row]:
    """Part, quantity, distance, value, lower, upper, n, unit."""
    nan = float("nan")
    if slope is not None:
        yield part, "near_variance", "", slope.near, nan, nan, count, _VARIANCE
        yield part, "slope", "", slope.value, slope.lower, slope.upper, count, _VARIANCE
    yield part, OWN_VARIANCE, "", alone, nan, nan, count, _VARIANCE
    yield part, "length", "", correlation_length(pairs), nan, nan, int(pairs.pairs.sum()), "km"
    for name, row in pairs.iterrows():
        yield part, "pair_correlation", str(name), float(row.correlation), nan, nan, int(row.pairs), "1"

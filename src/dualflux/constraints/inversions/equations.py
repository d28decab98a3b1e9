"""Normal equations of inversions: H' R^-1 H of exact integrals."""

from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np

from dualflux.constraints.areas import Areas
from dualflux.constraints.base import AnomalyPart, Draw, Equations, Landscape, LinearMember, Normal
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.cube import Cube
from dualflux.grid import LandCells
from dualflux.model.spatial_effect import HARMONICS, SpatialBasis, harmonics
from dualflux.model.time_effect import ZONES, zones
from dualflux.units import PETAGRAM


@dataclass(frozen=True, eq=False)
class RegionalEquations:
    """What all members share.

    Attributes
    ----------
    data : RegionalConstraint
        Of the whole ensemble.
    areas : Areas
    spatial : array, (region, year, 12, harmonic x place)
        Integrals of u's columns [PgC month-1 per gC m-2 d-1].
    series : array, (region, year, 12, series x zone)
        The same of predictors of time alone.
    overlap : array, (region, region)
        Land of a region that carries another's anomaly [1e15 m2], see `overlap_of`.
    days : array, (year, 12)
        Of the months.
    """

    data: RegionalConstraint
    areas: Areas
    spatial: np.ndarray
    series: np.ndarray
    overlap: np.ndarray
    days: np.ndarray
    rows: np.ndarray | None = None

    @classmethod
    def create(cls, data: RegionalConstraint, landscape: Landscape) -> "RegionalEquations":
        """Integrate the columns of the spatial effect and of predictors of time alone."""
        cube, cells, basis = landscape
        areas, shape = Areas(cells.region_area, data.month.ravel()), (len(cells.region_area), *data.month.shape)
        spatial, series = spatial_integrals(areas, cube, cells, basis), series_integrals(areas, cube, cells)
        days, overlap = cube.steps.month_days[data.month].astype(np.float64), overlap_of(cells, cube.vegetated())
        return cls(data, areas, spatial.reshape(*shape, spatial.shape[-1]), series.reshape(*shape, series.shape[-1]), overlap, days)

    def equations(self, member: LinearMember) -> Equations:
        """Of a member's years (one that was drawn twice stands there twice), tempered: with R / weight the draw's deviation grows by
        1 / sqrt(weight)."""
        part, shared = member.part, member.layout.shared_by("inversions")
        place = member.layout.places([*member.layout.of_flux(), *(e.name for e in shared)])
        if part.weight == 0:
            nothing = Normal(place, np.zeros((len(place), len(place))), np.zeros((len(place), 2)))
            return lambda parameters, draw=None: nothing
        data = cast(RegionalConstraint, member.plan.data.get("inversions", self.data))
        use = np.asarray(part.year)[np.asarray(part.year_use) > 0]
        there = np.isin(self.data.years, data.years)
        observed = data.observed[:, (np.cumsum(there) - 1)[use]]
        features = member.columns.reshape(len(member.columns), *self.data.month.shape, -1)
        loadings = [np.asarray(e.loading["inversions"])[:, use] for e in shared]
        columns = np.concatenate([features[:, use], self.spatial[:, use], self.series[:, use], *loadings], axis=-1).astype(np.float64)
        mean, anomaly, target = (np.asarray(p, np.float64) for p in (part.mean_precision, part.anomaly_precision, part.target[:, use]))
        matrix, values = regional_normal(columns, observed, target, mean, anomaly)
        weight = float(part.weight)
        found = Normal(place, weight * matrix, values * [weight, np.sqrt(weight)])

        @cache
        def alone() -> AnomalyPart:
            return anomaly_part(self.of_anomalies(use), columns, observed, target, anomaly, weight)

        def at(parameters: np.ndarray, draw: Draw | None = None) -> Normal:
            """The target has the member's sign already: both members of a pair see the same draw before the last."""
            turned = np.array([1.0, 1.0 if draw is None else draw.sign * member.sign])
            part = None if member.anomaly_years is None else lambda: alone()._replace(values=alone().values * turned)
            return found._replace(values=found.values * turned, anomaly=part)

        return at

    def of_anomalies(self, use: np.ndarray) -> np.ndarray:
        """Integral of a region where another's anomaly is 1, (year, region, region, 12) [PgC month-1 per gC m-2 d-1]."""
        return np.einsum("rs,yi->yrsi", self.overlap, self.days[use])


def overlap_of(cells: LandCells, vegetated: np.ndarray) -> np.ndarray:
    """Land of a region that carries another's anomaly, (region, region) [1e15 m2]: cells that they share see both by their shares.

    Parameters
    ----------
    vegetated : array, (cell,)
        The vegetation scale: a cell carries so much of an anomaly.
    """
    return np.asarray((cells.region_area * vegetated) @ cells.region_fraction.T / PETAGRAM, dtype=np.float64)


def anomaly_part(
    load: np.ndarray, columns: np.ndarray, observed: np.ndarray, draw: np.ndarray, precision: np.ndarray, weight: float
) -> AnomalyPart:  # fmt: skip
    """What the inversions' anomalies say of regional anomalies, whose integrals sum to zero: the mean over years sees nothing of them.

    Parameters
    ----------
    load : array, (year, region, region, 12)
        Of `RegionalEquations.of_anomalies`.
    columns, observed, draw, precision
        As in `regional_normal`; `precision` is B.
    weight : float
        Tempering power.
    """
    design = np.concatenate([columns, observed[..., None], (draw - observed)[..., None]], axis=-1)
    design = design - design.mean(axis=1, keepdims=True)  # for rounding alone: sums that are zero see no mean
    years, size = len(load), 12 * len(columns)
    blocks, couple = np.empty((years, size, size)), np.empty((years, size, design.shape[-1]))
    for year, own in enumerate(load):
        weighted = precision.reshape(size, size) @ design[:, year].reshape(size, -1)
        couple[year] = np.einsum("rsi,riq->siq", own, weighted.reshape(len(columns), 12, -1), optimize=True).reshape(size, -1)
        blocks[year] = np.einsum("rsi,rium,utm->sitm", own, precision, own, optimize=True).reshape(size, size)
    flat = couple.reshape(years * size, -1)
    return AnomalyPart(weight * flat[:, :-2], flat[:, -2:] * [weight, np.sqrt(weight)], blocks=weight * blocks)


def spatial_integrals(areas: Areas, cube: Cube, cells: LandCells, basis: SpatialBasis) -> np.ndarray:
    """Integrals of u's columns, (area, month, harmonic x place) [PgC month-1 per gC m-2 d-1]."""
    steps, inside = cube.steps, (areas.area * cube.vegetated()) @ basis.at(cells.lat(), cells.lon()) / PETAGRAM  # (area, place)
    wave = np.add.reduceat(harmonics(steps.season, len(cube.seasonal)), steps.month_start) / steps.month_steps[:, None]
    wave = (wave * steps.month_days[:, None])[areas.month]
    return np.einsum("rk,mh->rmhk", inside, wave).reshape(len(inside), len(areas.month), HARMONICS * basis.size)


def series_integrals(areas: Areas, cube: Cube, cells: LandCells) -> np.ndarray:
    """Integrals of the columns of predictors of time alone, (area, month, series x zone) [PgC month-1 per gC m-2 d-1]."""
    steps, inside = cube.steps, (areas.area * cube.vegetated()) @ zones(cells.lat()) / PETAGRAM  # (area, zone)
    mean = np.add.reduceat(cube.series.astype(np.float64), steps.month_start, axis=0) / steps.month_steps[:, None]
    monthly = (mean * steps.month_days[:, None])[areas.month]
    return np.einsum("rz,mk->rmkz", inside, monthly).reshape(len(inside), len(areas.month), cube.series.shape[1] * len(ZONES))


def flux_integrals(areas: Areas, landscape: Landscape) -> np.ndarray:
    """Integrals of all columns of f but those of the readout, in the order of `Layout.of_flux`, (area, month, column)."""
    cube, cells, basis = landscape
    parts = [spatial_integrals(areas, cube, cells, basis), series_integrals(areas, cube, cells)]
    return np.concatenate(parts, axis=-1)


def regional_normal(
    columns: np.ndarray, observed: np.ndarray, draw: np.ndarray, mean_precision: np.ndarray, anomaly_precision: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """H' R^-1 H and H' R^-1 y of the inversions: the quadratic form of `covariance`.

    Parameters
    ----------
    columns : array, (region, year, 12, column)
        Integrals of the columns [PgC month-1].
    observed, draw : array, (region, year, 12)
        The inversions' mean, and a member's own draw about it.
    mean_precision, anomaly_precision : array, (region, 12, region, 12)
        S and B.

    Returns
    -------
    array, (column, column) and (column, 2)
    """
    design = np.concatenate([columns, observed[..., None], (draw - observed)[..., None]], axis=-1)
    mean = design.mean(axis=1)
    anomaly = design - mean[:, None]
    size = 12 * len(design)
    flat = mean.reshape(size, -1)
    gram = flat.T @ mean_precision.reshape(size, size) @ flat
    precision = anomaly_precision.reshape(size, size)
    for year in range(design.shape[1]):  # one year at a time, so that memory holds one year's columns twice
        flat = anomaly[:, year].reshape(size, -1)
        gram += flat.T @ (precision @ flat)
    return gram[:-2, :-2], gram[:-2, -2:]

"""Truths for `calibration.py`, drawn from their priors on fixed designs, and what towers and inversions see of them.

Errors are drawn one by one as the text of the method has them, not by the code that takes them apart again: a site's functions and years,
its memory month after month, Student-t noise; every inversion by itself.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from calibration_world import World

from dualflux.constraints.inversions.equations import RegionalEquations
from dualflux.constraints.inversions.mean_error import COMMON_SHARE_SD, MeanError
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.constraints.towers.equations import EFFECTS, TowerEquations
from dualflux.constraints.towers.members import TowerParameters
from dualflux.constraints.towers.records import OWN, Records
from dualflux.fitting.linear_posterior import MemberProblem
from dualflux.fitting.posterior_draws import LinearStep
from dualflux.model.flux_model import Network
from dualflux.model.spatial_effect import harmonics


@dataclass(frozen=True)
class Fixed:
    """What all draws share.

    Attributes
    ----------
    world : World
    step : LinearStep
        Of the members of one draw.
    columns : list of array
        What the readout multiplies, of each constraint.
    cells : array, (cell, year, 12, unknown of the flux)
        Design of the flux of all cells [gC m-2 d-1].
    prior : MemberProblem
        Of a member without data: its priors and layout.
    spread : array, (effect,)
        Sds of effects that are estimated elsewhere; here they stay where their estimation starts.
    site_sd : dict of str to float
        The same of what sites have of their own, by `towers.site_spread.PARTS`.
    anomaly : array, (year x region x 12, k)
        Square root of the covariance of regional anomalies.
    """

    world: World
    step: LinearStep
    columns: list[np.ndarray]
    cells: np.ndarray
    prior: MemberProblem
    spread: np.ndarray
    site_sd: dict[str, float]
    anomaly: np.ndarray

    def equations(self, kind: type) -> Any:
        """Those of towers or inversions."""
        return next(linear for linear in self.step.linear if isinstance(linear, kind))

    @property
    def years(self) -> np.ndarray:
        """All of them are fitted."""
        return self.world.inversions.data.years


@dataclass(frozen=True)
class Truth:
    """Unknowns of the layout, (unknown,), and regional anomalies (year, region, 12) [gC m-2 d-1]; with a leading axis: members."""

    unknowns: np.ndarray
    anomaly: np.ndarray


def root(covariance: np.ndarray) -> np.ndarray:
    """A square root of a covariance that may be singular: sums of anomalies are zero."""
    value, vector = np.linalg.eigh(covariance)
    return np.asarray(vector * np.sqrt(np.maximum(value, 0.0)))


def cell_design(world: World) -> np.ndarray:
    """Columns of f at all cells, (cell, year, 12, unknown): hidden features, then u's lasting and seasonal part."""
    cube, cells = world.cube, world.cells
    step, cell = np.indices((len(cube.steps.time), len(cells.index)))
    features = np.asarray(Network.features(world.model.network, cube.rows(step, cell)), dtype=np.float64)
    wave, place = harmonics(cube.steps.season, len(cube.seasonal)), world.landscape.basis.at(cells.lat(), cells.lon())
    u = np.einsum("th,ck->tchk", wave, place).reshape(*features.shape[:2], -1)
    design = np.concatenate([features, u], axis=-1)
    return np.moveaxis(design, 1, 0).reshape(len(cells.index), -1, 12, design.shape[-1])


def region_design(fix: Fixed) -> np.ndarray:
    """The inversions' own operator, (region, year, 12, unknown)."""
    equations = fix.equations(RegionalEquations)
    integrals = fix.columns[1].reshape(*equations.spatial.shape[:3], -1)
    return np.concatenate([integrals, equations.spatial, equations.series], axis=-1)


def at_regions(fix: Fixed, anomaly: np.ndarray) -> np.ndarray:
    """Integrals of regional anomalies, (..., region, year, 12) [PgC month-1], by the inversions' own operator."""
    load = fix.equations(RegionalEquations).of_anomalies(np.arange(len(fix.years)))
    return np.einsum("yrsi,...ysi->...ryi", load, anomaly, optimize=True)


def at_cells(fix: Fixed, anomaly: np.ndarray) -> np.ndarray:
    """Regional anomalies of cells, (..., cell, year, 12) [gC m-2 d-1]."""
    return np.einsum("rc,...yri->...cyi", fix.world.cells.region_fraction, anomaly, optimize=True)


def at_towers(fix: Fixed, one: Truth) -> np.ndarray:
    """What towers see but for their errors, (row,) in the order of records [gC m-2 d-1]; regional anomalies are left in these."""
    equations = fix.equations(TowerEquations)
    place = fix.prior.layout.places(EFFECTS)
    return np.asarray(equations.expected(fix.columns[0], one.unknowns[place]))


def draw_truth(fix: Fixed, random: np.random.Generator, wider: float) -> Truth:
    """All from their priors: the readout about where training ended, all others about zero."""
    problem = fix.prior
    unknowns = np.sqrt(wider) * problem.sds(fix.spread) * random.standard_normal(problem.layout.size)
    readout = problem.layout.place("readout")
    unknowns[readout] += problem.trained[readout]
    anomaly = np.sqrt(wider) * fix.anomaly @ random.standard_normal(fix.anomaly.shape[1])
    return Truth(unknowns, anomaly.reshape(len(fix.years), -1, 12))


def draw_towers(fix: Fixed, truth: Truth, random: np.random.Generator, wider: float) -> TowerEquations:
    """Towers that see the truth with errors whose scale grows with the flux that training ended with."""
    equations, own = fix.equations(TowerEquations), fix.world.model.own["towers"]
    trained = equations.expected(fix.columns[0], fix.prior.trained[fix.prior.layout.places(EFFECTS)])
    scale = np.exp(float(own.log_error_floor)) + np.exp(float(own.log_error_growth)) * np.abs(trained)
    lasting, once = tower_errors(equations, own, scale, fix.site_sd, random)
    observed = np.empty(len(scale), np.float32)
    observed[equations.records.order] = at_towers(fix, truth) + np.sqrt(wider) * (lasting + once)
    return replace(equations, towers=replace(equations.towers, observed=observed))


def tower_errors(
    equations: TowerEquations, own: TowerParameters, scale: np.ndarray, sd: dict[str, float], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """b + y + s and e, (row,) each [gC m-2 d-1], of a scale of the error (row,)."""
    records, towers = equations.records, equations.towers
    share, days = 1 / (1 + np.exp(-float(own.memory_logit))), np.exp(float(own.log_memory_days))
    of_part = {"offset": 1.0, "cycle": towers.amplitude, "trend": 1.0}
    tails = np.sqrt(random.chisquare(equations.degrees_of_freedom, len(towers.sites)) / equations.degrees_of_freedom)
    effect = np.stack([sd[part] * of_part[part] * random.standard_normal(len(towers.sites)) / tails for part in OWN], axis=1)
    year = sd["year"] * random.standard_normal((len(towers.sites), records.years))
    lasting = (records.own * effect[records.site]).sum(axis=1) + scale * year[records.site, records.year]
    white = np.hypot(towers.uncertainty[records.order].astype(np.float64), np.sqrt(1 - share) * scale)
    once = white * random.standard_t(equations.degrees_of_freedom, len(scale))
    return lasting + np.sqrt(share) * scale * memory(records, float(days), random), once


def memory(records: Records, days: float, random: np.random.Generator) -> np.ndarray:
    """AR(1) of unit variance at each site, (row,)."""
    found = random.standard_normal(len(records.site))
    for row, gap in enumerate(records.gap):
        if np.isfinite(gap):
            keep = np.exp(-gap / days)
            found[row] = keep * found[row - 1] + np.sqrt(1 - keep**2) * found[row]
    return np.asarray(found)


def draw_inversions(fix: Fixed, truth: Truth, random: np.random.Generator, wider: float) -> RegionalConstraint:
    """The mean of products that see the truth's integrals, each with an error of its own and one that all have."""
    data, layout = fix.world.inversions.data, fix.prior.layout
    assert data.drawn is not None
    seen = region_design(fix) @ truth.unknowns[layout.places(layout.of_flux())] + at_regions(fix, truth.anomaly)
    return replace(data, observed=seen + np.sqrt(wider) * error_of_mean(data.drawn, len(data.names), len(data.years), random))


def error_of_mean(mean: MeanError, products: int, years: int, random: np.random.Generator) -> np.ndarray:
    """What the mean of some products errs, (region, year, 12): product by product, with their common share and variances drawn."""
    share = abs(random.normal()) * COMMON_SHARE_SD
    own = mean.own.error(mean.own.freedom / random.chisquare(mean.own.freedom))
    each = np.mean([own.draw(random, years) for _ in range(products)], axis=0)
    adjustments = mean.adjustment * random.normal(size=(len(mean.adjustment), 1))
    return each + share * own.draw(random, years) + adjustments[:, None]

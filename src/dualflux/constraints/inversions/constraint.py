"""Inversions in training: regional integrals by one of three estimators, and r' R^-1 r in three orthogonal parts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.areas import Areas, walk_of
from dualflux.constraints.base import Constraint, Flux, Landscape, Plan, Term, generator
from dualflux.constraints.inversions.covariance import EnsembleError, with_further_error
from dualflux.constraints.inversions.equations import RegionalEquations
from dualflux.constraints.inversions.held_out import predictive_loss
from dualflux.constraints.inversions.integrals import RegionData, RepresentativeLocations, exact_integrals, integrate
from dualflux.constraints.inversions.locations import draw_locations, stratify
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, check_lines, resampled
from dualflux.cube import Cube, DeviceCube
from dualflux.grid import LandCells


class InversionPart(NamedTuple):
    """What differs between members.

    Attributes
    ----------
    target : array, (region, year, 12)
        Its draw of the inversions [PgC month-1].
    year_use : array, (year,)
        1 where the place in the record constrains this member.
    mean_precision, anomaly_precision : array, (region, 12, region, 12)
        Of the mean over years, and of one year's anomalies.
    weight : array, ()
        0 leaves inversions out.
    year : array of int, (year,)
        Which year stands at a place of the record: its own, or with resampled years any, some more than once.
    """

    target: jax.Array
    year_use: jax.Array
    mean_precision: jax.Array
    anomaly_precision: jax.Array
    weight: jax.Array
    year: jax.Array


class InversionScore(NamedTuple):
    """Of a member: r' R^-1 r."""

    region_misfit: jax.Array


class Inversions(Constraint):
    """Regional integrals on the device; `data` are those of the whole ensemble."""

    name: ClassVar[str] = "inversions"
    label: ClassVar[str] = "atmospheric inversions"

    regions: RegionData
    estimator: str = eqx.field(static=True)
    locations: int = eqx.field(static=True)
    years: int = eqx.field(static=True)
    data: RegionalConstraint = eqx.field(static=True)
    block: int | None = eqx.field(static=True)

    @classmethod
    def create(
        cls, data: RegionalConstraint, settings: InversionTermSettings, cube: Cube, device: DeviceCube, cells: LandCells
    ) -> "Inversions":
        """Move what regional integrals need to the device."""
        flat, _ = walk_of(device, cube.steps, [Areas(cells.region_area, data.month.ravel())])
        regions = RegionData(flat.in_months(data.month.shape), stratify(cells, cube.mean_year()))
        return cls(regions, settings.estimator, settings.locations, min(settings.years, len(data.years)), data, settings.resample_years)

    @staticmethod
    def check_lines(data: RegionalConstraint) -> list[str]:
        """Products, regions, years, and the sds of R."""
        return check_lines(data)

    @property
    def size(self) -> float:
        """Number of monthly integrals."""
        return float(self.data.observed.size)

    def anomaly_years(self, plan: Plan) -> np.ndarray | None:
        """The years that a member uses, where they are two or more."""
        years = self.data_of(plan).years
        return years if plan.weight(self.name) > 0 and len(years) > 1 else None

    def never_updated(self) -> dict[str, float]:
        """k, what products have in common, where it is drawn."""
        drawn = self.data.drawn
        return {} if drawn is None or drawn.share_sd == 0 else {"common_share": drawn.share_sd}

    def parts(self, plans: Sequence[Plan]) -> InversionPart:
        """Each member's draw, R and years."""
        draws: dict[tuple[int, int], np.ndarray] = {}
        each = [self._part(plan, draws) for plan in plans]
        *leaves, year = (np.stack(leaves) for leaves in zip(*each, strict=True))
        target, use, mean, anomaly, weight = (jnp.asarray(one, jnp.float32) for one in leaves)
        return InversionPart(target, use, mean, anomaly, weight, jnp.asarray(year, jnp.int32))

    def _part(self, plan: Plan, draws: dict[tuple[int, int], np.ndarray]) -> tuple[np.ndarray, ...]:
        data = self.data_of(plan)
        mine = id(data), plan.total
        if plan.draw and mine not in draws:
            draws[mine] = data.draws(plan.total, plan.seed, self.block is not None)
        target = draws[mine][plan.place] if plan.draw else data.observed
        use = np.isin(self.data.years, data.years)
        own, place = on_years(target, data.years, self.data.years), np.flatnonzero(use)
        year = np.arange(len(use))
        if plan.draw and self.block is not None:  # both of a pair see the same years: what they draw beside has opposite signs
            year[use] = place[resampled(len(place), self.block, generator((plan.seed, plan.place // 2), "resampled years"))]
        return own, use.astype(float), *data.error.precisions(), np.asarray(plan.weight(self.name)), year

    def data_of(self, plan: Plan) -> RegionalConstraint:
        """What a member is fitted to."""
        return cast(RegionalConstraint, plan.data.get(self.name, self.data))

    def parts_in_training(self, parts: InversionPart, plans: Sequence[Plan]) -> InversionPart:
        """R has the error of representative locations in it. The linear step integrates exactly and goes without."""
        if self.regions.structure is None:
            return parts
        widened = [self.error_in_training(self.data_of(plan).error).precisions() for plan in plans]
        mean, anomaly = (jnp.asarray(np.stack(p), jnp.float32) for p in zip(*widened, strict=True))
        return parts._replace(mean_precision=mean, anomaly_precision=anomaly)

    def error_in_training(self, error: EnsembleError) -> EnsembleError:
        """R of the inversions and, of representative locations, their own."""
        structure = self.regions.structure
        return error if structure is None else with_further_error(error, np.asarray(structure.variance, np.float64))

    def term(self, part: InversionPart, sd: dict[str, jax.Array], key: jax.Array, control: Any) -> tuple[jax.Array, Term]:
        """Half the quadratic form, times the weight."""
        return part.weight / 2, lambda model: self.quadratic(model, part, key, control)

    def quadratic(self, model: Flux, part: InversionPart, key: jax.Array, control: Any = None) -> jax.Array:
        """r' R^-1 r: exact, or unbiased from two independent samples of locations and days in the same random years."""
        years = part.year_use.sum()
        if self.estimator == "exact":
            residual = (exact_integrals(model, self.regions) - part.target)[:, part.year]
            return quadratic_form(residual, residual, part, part.year_use, years)
        year_key, *keys = jax.random.split(key, 3)
        scores = jnp.where(part.year_use > 0, jax.random.gumbel(year_key, part.year_use.shape), -jnp.inf)
        chosen = jax.lax.top_k(scores, self.years)[1]
        return quadratic_form(*self.residuals(model, part, part.year[chosen], keys, control), part, part.year_use[chosen], years)

    def residuals(
        self, model: Flux, part: InversionPart, chosen: jax.Array, keys: Sequence[jax.Array] | jax.Array, control: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        """Two residuals that share no randomness: one for each of two keys, or twice the same where nothing is random."""
        first = self.residual(model, part, chosen, keys[0], control)
        fixed = self.regions.structure is not None and len(self.regions.walk.within) == 1  # a month is one step
        return first, first if fixed else self.residual(model, part, chosen, keys[1], control)

    def residual(self, model: Flux, part: InversionPart, chosen: jax.Array, key: jax.Array, control: Any = None) -> jax.Array:
        """H f - y on random or representative locations, the same day of a month in all years, (region, chosen year, 12).

        With a control variate only the change since then is sampled: the estimate stays unbiased and its noise vanishes as
        training settles (stochastic variance reduced gradient; Johnson and Zhang 2013, NIPS 26).
        """
        day_key, cell_key = jax.random.split(key)
        walk, structure = self.regions.walk, self.regions.structure
        count = walk.month_steps[chosen]
        day = jnp.floor(jax.random.uniform(day_key, (12,)) * count).astype(jnp.int32)
        locations = draw_locations(self.regions.strata, cell_key, self.locations) if structure is None else structure.locations
        step, days = walk.month_start[chosen] + day, walk.month_days[chosen]
        found = integrate(model, self.regions, locations, step, days)
        if control is not None:
            found = found - integrate(control.model, self.regions, locations, step, days) + control.known[self.name][:, chosen]
        return found - part.target[:, chosen]

    def control(self, model: Flux, part: InversionPart) -> jax.Array:
        """Exact integrals [PgC month-1] (zeros where the member uses no inversions)."""
        return jax.lax.cond(part.weight > 0, lambda: exact_integrals(model, self.regions), lambda: jnp.zeros_like(part.target))

    @property
    def sampled(self) -> bool:
        """Whether integrals are estimated on some locations."""
        return self.estimator != "exact"

    def score(self, model: Flux, part: InversionPart, sd: dict[str, jax.Array]) -> InversionScore:
        """The misfit over all years, from locations that are the same each time."""
        residuals = self.residuals(model, part, part.year, jax.random.split(jax.random.key(0)))
        return InversionScore(quadratic_form(*residuals, part, part.year_use, part.year_use.sum()))

    def criterion(self, scores: InversionScore, parts: InversionPart) -> float:
        """Weight / 2 x r' R^-1 r."""
        return float((np.asarray(parts.weight) * scores.region_misfit).sum()) / 2

    def history(self, scores: InversionScore) -> dict[str, float]:
        """Mean misfit."""
        return {"region_misfit": float(np.mean(scores.region_misfit))}

    def held_out(self, scores: InversionScore, models: Any, parts: InversionPart, everything: RegionalConstraint) -> np.ndarray:
        """Negative log density of years that members have not used, if R is as large as their weight says (`held_out`), (member, unit)."""
        # The constraint goes in as an argument: closed over, its whole cube would be compiled in as a constant.
        found = jax.jit(lambda c, each: jax.lax.map(lambda one: exact_integrals(one, c.regions), each))(self, models)
        residual = np.asarray(found, np.float64) - everything.observed
        seen, weight = np.asarray(parts.year_use[0]) > 0, np.asarray(parts.weight, np.float64)
        return predictive_loss(residual, seen, everything.error.anomaly, weight)

    def in_training(self) -> RepresentativeLocations | None:
        """Weights of representative locations may be fitted anew."""
        return self.regions.structure

    def going_on(self, changed: RepresentativeLocations | None) -> "Inversions":
        """With such weights."""
        return replace(self, regions=self.regions._replace(structure=changed))

    def linear(self, landscape: Landscape) -> RegionalEquations:
        """Inversions in the linear step."""
        return RegionalEquations.create(self.data, landscape)


def on_years(values: np.ndarray, own: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Values (region, own year, 12) among all years, 0 elsewhere."""
    found = np.zeros((values.shape[0], len(years), 12))
    found[:, np.isin(years, own)] = values
    return found


def quadratic_form(first: jax.Array, second: jax.Array, part: InversionPart, use: jax.Array, years: jax.Array) -> jax.Array:
    """Unbiased r' R^-1 r from two independent estimates of the residuals of a random subset of years.

    Parameters
    ----------
    first, second : array, (region, chosen year, 12)
        Residuals on the same years from independent locations; the same array twice when they are exact.
    use : array, (chosen year,)
        1 where the year counts.
    years : array, ()
        Number of years of the constraint.

    Notes
    -----
    For a simple random sample of n of Y years, mean' S mean is overestimated by (1/n - 1/Y) times the sample variance
    of the years' residuals in the metric S; the sum of squared anomalies is (Y - 1) times their sample variance.
    """
    n = use.sum()
    freedom = jnp.maximum(n - 1, 1)  # one year alone has no anomalies: their sums are zero
    mean_first, mean_second = (jnp.einsum("ryi,y->ri", r, use) / n for r in (first, second))
    first, second = ((r - m[:, None]) * use[:, None] for r, m in ((first, mean_first), (second, mean_second)))
    mean = jnp.einsum("ri,risj,sj->", mean_first, part.mean_precision, mean_second)
    excess = jnp.einsum("ryi,risj,syj->", first, part.mean_precision, second) / freedom
    anomaly = jnp.einsum("ryi,risj,syj->", first, part.anomaly_precision, second) / freedom
    return mean - (1 / n - 1 / years) * excess + (years - 1) * anomaly

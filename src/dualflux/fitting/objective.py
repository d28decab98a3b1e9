"""The objective of a member: a negative log posterior on towers and regional integrals at once,

    sum over towers of n_eff / n x t-error(y - f - g - b) + weight / 2 x r' R^-1 r + log-priors of weights, g and b,

with r = H f - y the regional residuals of its own draw of the inversions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from dualflux.constraints.inversions.integrals import RegionData, exact_integrals, integrate
from dualflux.constraints.inversions.locations import draw_locations
from dualflux.model.flux_model import FluxModel, fluxes


class Member(NamedTuple):
    """What differs between members; every array has a leading member axis once stacked.

    Attributes
    ----------
    key : PRNG key
    site_use : array, (site,)
        Weight of each site in training; 0 for the sites of its fold and of its inner validation.
    site_validation : array, (site,)
        1 for the inner validation sites.
    target : array, (region, year, 12)
        Its draw of the inversions [PgC month-1].
    year_use : array, (year,)
        1 where the year constrains this member.
    mean_precision, anomaly_precision : array, (region + 1, 12, 12)
        Of the regions and, last, of their sum.
    tower_weight, inversion_weight : array, ()
        0 leaves the source out.
    representativeness_sd, site_effect_sd : array, ()
        Prior sd of g's slopes and of b; 0 switches the term off.
    """

    key: jax.Array
    site_use: jax.Array
    site_validation: jax.Array
    target: jax.Array
    year_use: jax.Array
    mean_precision: jax.Array
    anomaly_precision: jax.Array
    tower_weight: jax.Array
    inversion_weight: jax.Array
    representativeness_sd: jax.Array
    site_effect_sd: jax.Array


class TowerData(NamedTuple):
    """`TowerConstraint` on the device."""

    predictors: jax.Array
    site: jax.Array
    observed: jax.Array
    uncertainty: jax.Array
    row_weight: jax.Array
    degrees_of_freedom: float


def tower_negative_log_likelihood(
    model: FluxModel, towers: TowerData, rows: jax.Array, representativeness: jax.Array, site_effects: jax.Array
) -> jax.Array:
    """Student-t negative log density of the given rows, (row,), without constants."""
    flux = fluxes(model, towers.predictors[rows])
    expected = jnp.where(representativeness > 0, flux.tower_like, flux.landscape)
    expected = expected + jnp.where(site_effects > 0, model.tower.site_effect[towers.site[rows]], 0.0)
    structural = jnp.exp(model.tower.log_error_floor) + jnp.exp(model.tower.log_error_growth) * jax.lax.stop_gradient(jnp.abs(expected))
    scale = jnp.sqrt(towers.uncertainty[rows] ** 2 + structural**2)
    nu = towers.degrees_of_freedom
    return (nu + 1) / 2 * jnp.log1p(((towers.observed[rows] - expected) / scale) ** 2 / nu) + jnp.log(scale)


def draw_rows(site_use: jax.Array, towers: TowerData, key: jax.Array, batch: int) -> tuple[jax.Array, jax.Array]:
    """Rows drawn in proportion to their weight (systematic, so each site has its share), and the sum of weights."""
    cumulative = jnp.cumsum(site_use[towers.site] * towers.row_weight)
    total = cumulative[-1]
    points = (jnp.arange(batch) + jax.random.uniform(key)) / batch * total
    return jnp.minimum(jnp.searchsorted(cumulative, points, side="right"), len(cumulative) - 1), total


def quadratic_form(first: jax.Array, second: jax.Array, member: Member, use: jax.Array, years: jax.Array) -> jax.Array:
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
    first, second = (jnp.concatenate([r, r.sum(axis=0, keepdims=True)]) for r in (first, second))
    n = use.sum()
    freedom = jnp.maximum(n - 1, 1)  # one year alone has no anomalies: their sums are zero
    mean_first, mean_second = (jnp.einsum("ryi,y->ri", r, use) / n for r in (first, second))
    first, second = ((r - m[:, None]) * use[:, None] for r, m in ((first, mean_first), (second, mean_second)))
    mean = jnp.einsum("ri,rij,rj->", mean_first, member.mean_precision, mean_second)
    excess = jnp.einsum("ryi,rij,ryj->", first, member.mean_precision, second) / freedom
    anomaly = jnp.einsum("ryi,rij,ryj->", first, member.anomaly_precision, second) / freedom
    return mean - (1 / n - 1 / years) * excess + (years - 1) * anomaly


class Anchor(NamedTuple):
    """An earlier state of a member whose integrals are known exactly.

    On random locations only the change since then is estimated: ``I(model) = I(anchor) + [I(model) - I(anchor)]_sample``.
    The estimate stays unbiased and its noise vanishes as training settles (stochastic variance reduced gradient; Johnson
    and Zhang 2013, NIPS 26).

    Attributes
    ----------
    model : FluxModel
    integral : array, (region, year, 12)
        [PgC month-1]
    """

    model: FluxModel
    integral: jax.Array


Term = Callable[[FluxModel], jax.Array]


class Objective(eqx.Module):
    """The negative log posterior of one member, estimated from one random batch."""

    towers: TowerData
    regions: RegionData
    prior_sd: tuple[float, ...] = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    estimator: str = eqx.field(static=True)
    locations: int = eqx.field(static=True)
    years: int = eqx.field(static=True)

    def __call__(
        self, model: FluxModel, member: Member, key: jax.Array, anchor: Anchor | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Total and its terms by name."""
        terms = {
            name: jax.lax.cond(weight > 0, lambda weight=weight, term=term: weight * term(model), lambda: 0.0)
            for name, (weight, term) in self.sources(member, key, anchor).items()
        }
        terms["prior"] = self.prior(model, member)
        return sum(terms.values(), jnp.zeros(())), terms

    def gradient(self, model: FluxModel, member: Member, key: jax.Array, anchor: Anchor | None = None) -> FluxModel:
        """Gradient of the total: that of each term is taken where the term is, so that no network's hidden layers leave a branch."""
        found = jax.grad(self.prior)(model, member)
        for weight, term in self.sources(member, key, anchor).values():
            part = jax.lax.cond(
                weight > 0,
                lambda weight=weight, term=term: jax.grad(lambda m: weight * term(m))(model),
                lambda: jax.tree.map(jnp.zeros_like, model),
            )
            found = jax.tree.map(jnp.add, found, part)
        return found

    def sources(self, member: Member, key: jax.Array, anchor: Anchor | None) -> dict[str, tuple[jax.Array, Term]]:
        """Weight and term of each source of data; of no weight it is not computed."""
        tower_key, region_key = jax.random.split(key)
        rows, total = draw_rows(member.site_use, self.towers, tower_key, self.batch)  # here, sums over all rows leave the loop over steps
        return {
            "towers": (member.tower_weight, lambda model: self.tower_term(model, member, rows, total)),
            "inversions": (member.inversion_weight / 2, lambda model: self.region_term(model, member, region_key, anchor)),
        }

    def tower_term(self, model: FluxModel, member: Member, rows: jax.Array, total: jax.Array) -> jax.Array:
        """Sum over training sites, estimated from a batch of rows and the sum of weights, see `draw_rows`."""
        values = tower_negative_log_likelihood(model, self.towers, rows, member.representativeness_sd, member.site_effect_sd)
        return total * values.mean()

    def region_term(self, model: FluxModel, member: Member, key: jax.Array, anchor: Anchor | None = None) -> jax.Array:
        """r' R^-1 r: exact, or unbiased from two independent samples of locations and days in the same random years."""
        years = member.year_use.sum()
        if self.estimator == "exact":
            residual = exact_integrals(model, self.regions) - member.target
            return quadratic_form(residual, residual, member, member.year_use, years)
        year_key, *keys = jax.random.split(key, 3)
        scores = jnp.where(member.year_use > 0, jax.random.gumbel(year_key, member.year_use.shape), -jnp.inf)
        chosen = jax.lax.top_k(scores, self.years)[1]
        return quadratic_form(*self.residuals(model, member, chosen, keys, anchor), member, member.year_use[chosen], years)

    def residuals(
        self, model: FluxModel, member: Member, chosen: jax.Array, keys: Sequence[jax.Array] | jax.Array, anchor: Anchor | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Two residuals that share no randomness: one for each of two keys, or twice the same where nothing is random."""
        first = self.residual(model, member, chosen, keys[0], anchor)
        fixed = self.regions.structure is not None and self.regions.cube.seasonal.shape[0] == 12  # a month is one step
        return first, first if fixed else self.residual(model, member, chosen, keys[1], anchor)

    def residual(self, model: FluxModel, member: Member, chosen: jax.Array, key: jax.Array, anchor: Anchor | None = None) -> jax.Array:
        """H f - y on random or representative locations, the same day of a month in all years, (region, chosen year, 12)."""
        day_key, cell_key = jax.random.split(key)
        count = self.regions.month_steps[chosen]
        day = jnp.floor(jax.random.uniform(day_key, (12,)) * count).astype(jnp.int32)
        structure = self.regions.structure
        locations = draw_locations(self.regions.strata, cell_key, self.locations) if structure is None else structure.locations
        step, days = self.regions.month_start[chosen] + day, self.regions.month_days[chosen]
        found = integrate(model, self.regions, locations, step, days)
        if anchor is not None:
            found = found - integrate(anchor.model, self.regions, locations, step, days) + anchor.integral[:, chosen]
        return found - member.target[:, chosen]

    def prior(self, model: FluxModel, member: Member) -> jax.Array:
        """Gaussian log-priors of network weights, g's slopes and site effects; a term that is off stays at zero."""
        network = sum(((w / sd) ** 2).sum() / 2 for w, sd in zip(model.network.weights, self.prior_sd, strict=True))
        slopes = (model.tower.coefficient**2).sum() / (2 * jnp.maximum(member.representativeness_sd, 1e-6) ** 2)
        effects = (model.tower.site_effect**2).sum() / (2 * jnp.maximum(member.site_effect_sd, 1e-6) ** 2)
        return network + jnp.where(member.representativeness_sd > 0, slopes, 0.0) + jnp.where(member.site_effect_sd > 0, effects, 0.0)


class Score(NamedTuple):
    """Sums at a checkpoint over inner validation sites; a sum over rows is divided by `validation_weight` where it is used.

    `site_residual` and `site_noise`, (site,), are those of inner validation sites and 0 at others.
    """

    loss: jax.Array
    validation_loss: jax.Array
    validation_weight: jax.Array
    validation_square: jax.Array
    site_residual: jax.Array
    site_noise: jax.Array
    region_misfit: jax.Array


def score(objective: Objective, model: FluxModel, member: Member, rows: jax.Array) -> Score:
    """What a checkpoint records: inner validation towers and the misfit to the inversions, without randomness.

    Parameters
    ----------
    rows : array of int, (row,)
        All rows of the inner validation sites; -1 stands for none.
    """
    towers, there = objective.towers, (rows >= 0).astype(jnp.float32)
    site = towers.site[rows]
    flux = fluxes(model, towers.predictors[rows])
    expected = jnp.where(member.representativeness_sd > 0, flux.tower_like, flux.landscape)
    difference, weight = towers.observed[rows] - expected, there * towers.row_weight[rows]
    blind = eqx.tree_at(lambda m: m.tower.site_effect, model, jnp.zeros_like(model.tower.site_effect))
    loss = tower_negative_log_likelihood(blind, towers, rows, member.representativeness_sd, jnp.zeros(()))

    def by_site(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(there * values, site, len(member.site_use))

    count = jnp.maximum(by_site(there), 1)
    residual = by_site(difference) / count
    inside = by_site((difference - residual[site]) ** 2) / count
    key = jax.random.key(0)
    years = jnp.arange(len(member.year_use))
    residuals = objective.residuals(model, member, years, jax.random.split(key))
    return Score(
        objective(model, member, key)[0],
        (weight * loss).sum(),
        weight.sum(),
        (weight * difference**2).sum(),
        residual,
        inside / jnp.maximum(by_site(weight), 1.0),
        quadratic_form(*residuals, member, member.year_use, member.year_use.sum()),
    )

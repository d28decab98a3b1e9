"""Training on towers and regional integrals at once: objective, members, one compiled program.

The objective of a member is a negative log posterior,

    sum over towers of n_eff / n x t-error(y - f - g - b) + weight / 2 x r' R^-1 r + log-priors of weights, g and b,

with r = H f - y the regional residuals of its own draw of the inversions. Members run one after the other inside one
compiled program (`lax.map` over `scan`): on a CPU that keeps a member's small matrices in cache, several times faster
than one batched product over members.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import BaseModel, ConfigDict, Field

from dualflux.features import DeviceCube
from dualflux.model import FluxModel, NetworkSettings, fluxes
from dualflux.operators import Locations, Strata, draw_locations

SMALLEST_SITE_EFFECT_SD = 0.05  # gC m-2 d-1


class TrainingSettings(BaseModel):
    """How long and how fast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(600, ge=10)
    checkpoints: int = Field(10, ge=2, description="times the averaged weights are kept and scored on inner validation sites")
    anchors: int = Field(
        2, ge=0, description="stratified, representative: times in the second half of training that integrals are taken exactly"
    )
    batch: int = Field(1024, ge=8, description="tower observations per step")
    learning_rate: float = Field(4e-3, gt=0)
    weight_sd: float = Field(2.0, gt=0, description="prior sd of network weights, in units of their initial sd")


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


class Structure(NamedTuple):
    """Locations that stand for their regions in all months, and how well (see `representative`).

    Attributes
    ----------
    locations : Locations
    number : array of int, (region,)
        Places of each region among the locations, in order; some may have no weight.
    bias : array, (region + 1,)
        Mean error of the monthly integrals [PgC month-1]; last that of the sum over regions.
    variance : array, (3, region + 1)
        Mean square error of offset, cycle and anomaly, as in `EnsembleError` [(PgC month-1)^2].
    """

    locations: Locations
    number: jax.Array
    bias: jax.Array
    variance: jax.Array


class RegionData(NamedTuple):
    """What the regional term needs on the device.

    Attributes
    ----------
    cube : DeviceCube
    strata : Strata
    every : Locations
        All cells in blocks (exact estimator and validation).
    month_start, month_steps : array of int, (year, 12)
    month_days : array, (year, 12)
    structure : Structure or None
        The representative estimator's; None: locations are drawn anew each time.
    """

    cube: DeviceCube
    strata: Strata
    every: Locations
    month_start: jax.Array
    month_steps: jax.Array
    month_days: jax.Array
    structure: Structure | None = None


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


def integrate(model: FluxModel, data: RegionData, locations: Locations, step: jax.Array, days: jax.Array) -> jax.Array:
    """Integrals of f [PgC month-1], (region, ...), at the given locations; one step stands for each month (...)."""
    flux = model.network(data.cube.block(step.reshape(-1), locations.cell))
    return jnp.einsum("rn,tn->rt", locations.weight, flux).reshape(-1, *step.shape) * days


def exact_integrals(model: FluxModel, data: RegionData) -> jax.Array:
    """Integrals of f over every cell and step [PgC month-1], (region, year, 12)."""
    return integrate_values(lambda rows: model.network(rows)[..., None], data)[..., 0]


def integrate_values(values: Callable[[jax.Array], jax.Array], data: RegionData) -> jax.Array:
    """Integrals of functions of the predictors, ``values(rows)`` (..., function), over every cell and step, (region, year, 12, function).

    Blocks are recomputed in the backward pass (`jax.checkpoint`), so that memory holds one block of one month.
    """
    starts, counts = data.month_start.reshape(-1), data.month_steps.reshape(-1)
    days = (data.month_days.reshape(-1) / counts).astype(jnp.float32)
    longest = 1 if data.cube.seasonal.shape[0] == 12 else 31

    @jax.checkpoint
    def month(start: jax.Array, count: jax.Array, per_step: jax.Array) -> jax.Array:
        step = jnp.minimum(start + jnp.arange(longest), data.cube.season.shape[0] - 1)
        use = (jnp.arange(longest) < count) * per_step

        def integral(locations: Locations) -> jax.Array:
            found = values(data.cube.block(step, locations.cell))
            return locations.weight @ jnp.einsum("tnk,t->nk", found, use)

        first = jax.tree.map(lambda a: a[0], data.every)
        rest = jax.tree.map(lambda a: a[1:], data.every)
        add = jax.checkpoint(lambda total, locations: (total + integral(locations), None))
        return jax.lax.scan(add, integral(first), rest)[0]

    integral = jax.lax.map(lambda m: month(*m), (starts, counts, days))
    return jnp.moveaxis(integral, 0, 1).reshape(-1, *data.month_start.shape, integral.shape[-1])


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
        tower_key, region_key = jax.random.split(key)
        terms = {
            "towers": jax.lax.cond(
                member.tower_weight > 0, lambda: member.tower_weight * self.tower_term(model, member, tower_key), lambda: 0.0
            ),
            "inversions": jax.lax.cond(
                member.inversion_weight > 0,
                lambda: member.inversion_weight / 2 * self.region_term(model, member, region_key, anchor),
                lambda: 0.0,
            ),
            "prior": self.prior(model, member),
        }
        return sum(terms.values(), jnp.zeros(())), terms

    def tower_term(self, model: FluxModel, member: Member, key: jax.Array) -> jax.Array:
        """Sum over training sites, estimated from a batch."""
        rows, total = draw_rows(member.site_use, self.towers, key, self.batch)
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


class State(NamedTuple):
    """A member in training; `average` is the exponential mean of its weights, which is what is kept."""

    model: FluxModel
    average: FluxModel
    optimiser: optax.OptState
    step: jax.Array


class Score(NamedTuple):
    """Sums at a checkpoint; a sum over sites' rows is divided by `weight` where it is used."""

    loss: jax.Array
    validation_loss: jax.Array
    validation_weight: jax.Array
    validation_square: jax.Array
    site_residual: jax.Array
    site_noise: jax.Array
    region_misfit: jax.Array


def score(objective: Objective, model: FluxModel, member: Member) -> Score:
    """What a checkpoint records: inner validation towers and the misfit to the inversions, without randomness."""
    towers = objective.towers
    flux = fluxes(model, towers.predictors)
    expected = jnp.where(member.representativeness_sd > 0, flux.tower_like, flux.landscape)
    weight = member.site_validation[towers.site] * towers.row_weight
    blind = eqx.tree_at(lambda m: m.tower.site_effect, model, jnp.zeros_like(model.tower.site_effect))
    loss = tower_negative_log_likelihood(blind, towers, jnp.arange(len(towers.site)), member.representativeness_sd, jnp.zeros(()))
    sites = len(member.site_use)
    count = jnp.maximum(jax.ops.segment_sum(jnp.ones_like(weight), towers.site, sites), 1)
    residual = jax.ops.segment_sum(towers.observed - expected, towers.site, sites) / count
    inside = jax.ops.segment_sum((towers.observed - expected - residual[towers.site]) ** 2, towers.site, sites) / count
    facts = jax.ops.segment_sum(towers.row_weight, towers.site, sites)
    key = jax.random.key(0)
    years = jnp.arange(len(member.year_use))
    residuals = objective.residuals(model, member, years, jax.random.split(key))
    return Score(
        objective(model, member, key)[0],
        (weight * loss).sum(),
        weight.sum(),
        (weight * (towers.observed - expected) ** 2).sum(),
        residual,
        inside / jnp.maximum(facts, 1.0),
        quadratic_form(*residuals, member, member.year_use, member.year_use.sum()),
    )


def optimiser_of(settings: TrainingSettings) -> optax.GradientTransformation:
    """Adam with a short warm-up, cosine decay and clipped gradients (a t-error still leaves rare large steps)."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.1 * settings.learning_rate, settings.learning_rate, max(1, settings.steps // 20), settings.steps
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def start(member: Member, network: NetworkSettings, inputs: int, invariant: int, optimiser: optax.GradientTransformation) -> State:
    """A fresh state of one member."""
    model = FluxModel.create(jax.random.fold_in(member.key, 0), inputs, invariant, member.site_use.shape[0], network)
    return State(model, model, optimiser.init(model), jnp.zeros((), jnp.int32))


def set_anchor(objective: Objective, state: State, member: Member) -> Anchor:
    """The member as it is, with its exact integrals (zeros where it uses no inversions)."""
    integral = jax.lax.cond(
        member.inversion_weight > 0, lambda: exact_integrals(state.model, objective.regions), lambda: jnp.zeros_like(member.target)
    )
    return Anchor(state.model, integral)


def anchored_checkpoints(settings: TrainingSettings) -> set[int]:
    """Checkpoints (0, 1, ...) before which anchors are set, evenly over the second half.

    >>> sorted(anchored_checkpoints(TrainingSettings(checkpoints=10, anchors=2)))
    [5, 7]
    """
    half = settings.checkpoints // 2
    return {half + i * (settings.checkpoints - half) // settings.anchors for i in range(settings.anchors)}


def advance(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    steps: int,
    scale: float,
    state: State,
    member: Member,
    anchor: Anchor | None,
) -> State:
    """`steps` optimiser steps of one member."""

    def loss(model: FluxModel, key: jax.Array) -> jax.Array:
        return objective(model, member, key, anchor)[0] / scale

    def one(state: State, _: None) -> tuple[State, None]:
        gradient = jax.grad(loss)(state.model, jax.random.fold_in(member.key, state.step + 1))
        update, optimiser_state = optimiser.update(gradient, state.optimiser)
        model = optax.apply_updates(state.model, update)
        keep = jnp.minimum(0.98, state.step / (state.step + 10.0))
        average = jax.tree.map(lambda a, m: keep * a + (1 - keep) * m, state.average, model)
        return State(model, average, optimiser_state, state.step + 1), None

    return jax.lax.scan(one, state, None, length=steps)[0]


Refresh = Callable[[Objective, FluxModel, Anchor, Member], Objective]


@dataclass(frozen=True)
class Fit:
    """Everything a training run leaves.

    Attributes
    ----------
    snapshots : list of FluxModel
        Averaged weights of all members at each checkpoint.
    scores : list of Score
        Arrays (member, ...), at each checkpoint.
    steps : array of int, (checkpoint,)
    site_effect_sd : array, (checkpoint, member)
    """

    snapshots: list[FluxModel]
    scores: list[Score]
    steps: np.ndarray
    site_effect_sd: np.ndarray


def fit(
    objective: Objective, members: Member, family: np.ndarray, network: NetworkSettings, settings: TrainingSettings, invariant: int,
    report: Callable[[int, int], None] = lambda done, of: None, refresh: Refresh = lambda objective, *_: objective,
) -> Fit:  # fmt: skip
    """Train all members.

    Parameters
    ----------
    members : Member
        Stacked.
    family : array of int, (member,)
        Members that share a site-effect variance, estimated from their inner validation sites at each checkpoint.
    report : callable
        Called with (checkpoints done, checkpoints in all).
    refresh : callable
        ``refresh(objective, models, anchors, members)`` gives the objective from an anchor on.
    """
    optimiser = optimiser_of(settings)
    inputs = objective.towers.predictors.shape[-1]
    chunk = settings.steps // settings.checkpoints
    scale = float(jnp.maximum(objective.towers.row_weight.sum(), 1.0))
    begin = jax.jit(lambda m: jax.lax.map(lambda one: start(one, network, inputs, invariant, optimiser), m))
    go = jax.jit(lambda o, s, m, a: jax.lax.map(lambda one: advance(o, optimiser, chunk, scale, *one), (s, m, a)))
    anchored = jax.jit(lambda o, s, m: jax.lax.map(lambda one: set_anchor(o, *one), (s, m)))
    anchors, anchor = anchored_checkpoints(settings) if objective.estimator != "exact" else set[int](), None
    look = jax.jit(lambda o, s, m: jax.lax.map(lambda a: score(o, a[0].average, a[1]), (s, m)))
    state, snapshots, scores, spreads = begin(members), [], [], []
    for done in range(settings.checkpoints):
        if done in anchors:
            anchor = anchored(objective, state, members)
            objective = refresh(objective, state.model, anchor, members)
        state = go(objective, state, members, anchor)
        found = jax.tree.map(np.asarray, look(objective, state, members))
        _require_finite(found, done)
        snapshots.append(jax.tree.map(np.asarray, state.average))
        scores.append(found)
        spreads.append(np.asarray(members.site_effect_sd))
        members = members._replace(site_effect_sd=site_effect_spread(found, members, family))
        report(done + 1, settings.checkpoints)
    return Fit(snapshots, scores, chunk * (1 + np.arange(settings.checkpoints)), np.stack(spreads))


def site_effect_spread(found: Score, members: Member, family: np.ndarray) -> jax.Array:
    """Sd of b per member, from the mean residuals of unseen (inner validation) sites of its family.

    The mean residual of a site has variance b's + (variance within the site) / (effective number of its data). The
    median of squares over 0.455 (the median of a chi-square of one degree of freedom) keeps a few odd sites from ruling.
    """
    unseen = np.asarray(members.site_validation) > 0
    spread = np.array(members.site_effect_sd)
    for name in np.unique(family):
        mine = family == name
        squares, noise = found.site_residual[mine][unseen[mine]] ** 2, found.site_noise[mine][unseen[mine]]
        if squares.size:
            variance = max(float(np.median(squares)) / 0.455 - float(np.median(noise)), SMALLEST_SITE_EFFECT_SD**2)
            spread[mine] = np.where(spread[mine] > 0, np.sqrt(variance), 0.0)
    return jnp.asarray(spread)


def _require_finite(found: Score, checkpoint: int) -> None:
    bad = np.flatnonzero(~np.isfinite(found.loss))
    if bad.size:
        raise FloatingPointError(
            f"training: the loss of {bad.size} member(s) is not finite at checkpoint {checkpoint + 1} (first: member {bad[0]})"
        )

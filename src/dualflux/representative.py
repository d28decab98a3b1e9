"""Few locations with fixed weights that stand for a region: a positive quadrature rule for plausible flux fields.

A location c of weight w_c >= 0 (weights sum to the region's area) stands for w_c of land: I(f) is about the sum of w_c f(c, t), the same
locations in all months. Which locations and weights is fitted on a *library* of networks. Each spans a
space of fields, its flux and its last hidden features (what any other readout would make of them), at a random subset
of steps; their inner products are a kernel k(c, c') = sum over fields and steps of phi(c) phi(c'). The rule

    minimises    sum of w_c sqrt(k_rest(c, c))
    subject to   sum of w_c e_j(c) = I(e_j) for the kernel's leading eigenfunctions e_j, and for the constant,

k_rest being what the leading eigenfunctions leave. It is a linear programme: its solution has as many locations as conditions
(positively weighted kernel quadrature; Hayakawa, Oberhauser and Lyons 2022, NeurIPS 35). The weights of these locations are then
refitted to the whole kernel by non-negative least squares. The error is measured on networks and years that the fit has not seen.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import linalg, optimize

from dualflux.covariance import split_parts
from dualflux.errors import InputError
from dualflux.model import FluxModel, Network, NetworkSettings
from dualflux.operators import Locations, Strata
from dualflux.training import Anchor, Member, Objective, RegionData, Structure, TrainingSettings, fit, integrate_values

BOOTSTRAPS = 5  # tower-only networks, each on its own resampled groups of sites ...
TESTED_ON = 2  # ... of which these are kept for the measurement of the error
LIBRARY_STEPS = 200  # of their training: the fields are to be plausible, not the best
STEPS_PER_MONTH = 2  # of each calendar month, in random years
CANDIDATES = 1000  # at most, cells of a region that may be chosen
PERTURBATION = 0.5
FLUX_AMPLITUDE = 3.0  # of a network's own flux in the kernel, in units of a readout's perturbation
MOVED = 2.0  # times the stated error: where members show more at an anchor, the locations are fitted anew
LARGEST_SHARE = 0.5  # of a region's cells, for an error target


class Span(NamedTuple):
    """Steps the library is fitted at, and years its error is measured in."""

    step: np.ndarray
    held: np.ndarray


def split_time(regions: RegionData, seed: int) -> Span:
    """Random steps of each calendar month from the first two thirds of the years; the last third is held out.

    Raises
    ------
    InputError
        Fewer than three years.
    """
    years = regions.month_start.shape[0]
    held = max(2, years // 3)
    if years <= held:
        raise InputError(
            f"inversion_term: estimator representative needs three years of inversions or more to measure its error, {years} came; "
            "widen `fit_period` or use the estimator stratified"
        )
    random = np.random.default_rng(seed)
    start, count = np.asarray(regions.month_start), np.asarray(regions.month_steps)
    chosen = [
        start[y, m] + random.integers(count[y, m])
        for m in range(12)
        for y in random.permutation(years - held)[:STEPS_PER_MONTH]
    ]  # fmt: skip
    return Span(np.array(chosen), np.arange(years - held, years))


def bootstrapped_networks(
    objective: Objective, group: np.ndarray, network: NetworkSettings, training: TrainingSettings, seed: int
) -> Network:
    """Tower-only networks, stacked, each trained for a while on its own resampling of the groups of sites.

    Parameters
    ----------
    group : array of int, (site,)
    """
    random, count = np.random.default_rng(seed), BOOTSTRAPS
    names, of = np.unique(group, return_inverse=True)
    use = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)[:, of]
    regions, years = len(objective.regions.strata.area), objective.regions.month_start.shape[0]
    nothing, each = jnp.zeros(count), jnp.ones(count)
    precision = jnp.zeros((count, regions + 1, 12, 12))
    members = Member(
        jax.random.split(jax.random.key(seed), count), jnp.asarray(use, jnp.float32), jnp.zeros(use.shape),
        jnp.zeros((count, regions, years, 12)), jnp.ones((count, years)), precision, precision, each, nothing, nothing, nothing,
    )  # fmt: skip
    short = training.model_copy(update={"steps": min(training.steps, LIBRARY_STEPS), "checkpoints": 2, "anchors": 0})
    towers_only = replace(objective, estimator="stratified", regions=objective.regions._replace(structure=None))
    found = fit(towers_only, members, np.zeros(count), network, short, 0).snapshots[-1].network
    return jax.tree.map(jnp.asarray, found)


def perturbed(networks: Network, seed: int) -> Network:
    """The networks with every layer's weights and biases moved by noise of `PERTURBATION` times the size of the layer's weights."""
    random = np.random.default_rng(seed)

    def moved(values: jax.Array, sizes: jax.Array) -> jax.Array:
        return values + sizes * random.normal(size=values.shape).astype(np.float32)

    scale = [PERTURBATION * jnp.sqrt((w**2).mean(axis=(1, 2), keepdims=True)) for w in networks.weights]
    weights = [moved(w, s) for w, s in zip(networks.weights, scale, strict=True)]
    return Network(weights, [moved(b, s[:, 0]) for b, s in zip(networks.biases, scale, strict=True)], networks.activation)


def both(one: Network, other: Network) -> Network:
    """Two stacks as one."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, other)


def spanned_fields(network: Network, rows: jax.Array, scale: jax.Array) -> jax.Array:
    """Fields that one network spans, (..., field): its hidden features as a perturbed readout has them, and its flux."""
    features = network.features(rows)
    return jnp.concatenate([scale * features, FLUX_AMPLITUDE * (features @ network.readout)[..., None]], axis=-1)


def readout_size(networks: Network) -> jax.Array:
    """Root mean square of the readouts' weights, ()."""
    return jnp.sqrt((networks.weights[-1] ** 2).mean())


@dataclass(frozen=True)
class Kernel:
    """Inner products of the library's fields in one region.

    Attributes
    ----------
    cell : array of int, (candidate,)
    measure : array, (candidate,)
        Area each candidate stands for as long as nothing is chosen [1e15 m2].
    gram : array, (candidate, candidate)
    integral : array, (candidate,)
        Integral over the whole region (every cell, candidate or not) of k(c, .).
    whole : bool
        The candidates are all cells of the region.
    """

    cell: np.ndarray
    measure: np.ndarray
    gram: np.ndarray
    integral: np.ndarray
    whole: bool


def candidates(strata: Strata, region: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cells of a region, the area each stands for, and whether they are all; of a large region a systematic sample by area."""
    share = np.asarray(strata.share[region], np.float64)
    own, area = np.diff(share, prepend=0.0), float(strata.area[region])
    inside = np.flatnonzero(own > 0)
    if len(inside) <= CANDIDATES:
        return np.asarray(strata.cell[region])[inside], own[inside] / own.sum() * area, True
    place = np.minimum(np.searchsorted(share, (np.arange(CANDIDATES) + 0.5) / CANDIDATES, side="right"), inside[-1])
    chosen, times = np.unique(place, return_counts=True)
    return np.asarray(strata.cell[region])[chosen], times / CANDIDATES * area, False


def make_kernels(networks: Network, regions: RegionData, step: np.ndarray) -> list[Kernel]:
    """The kernel of each region."""
    scale, steps = readout_size(networks), jnp.asarray(step)
    one_step = jnp.ones(steps.shape, jnp.int32)
    short = regions._replace(month_start=steps, month_steps=one_step, month_days=one_step.astype(jnp.float32))
    total = jax.jit(lambda n, d: jax.lax.map(lambda one: integrate_values(lambda rows: spanned_fields(one, rows, scale), d), n))(
        networks, short
    )
    at = jax.jit(lambda n, d, c: jax.lax.map(lambda one: spanned_fields(one, d.cube.block(steps, c), scale), n))
    found = []
    for region in range(len(regions.strata.area)):
        cell, measure, whole = candidates(regions.strata, region)
        fields = np.asarray(at(networks, regions, jnp.asarray(cell)))  # (network, step, candidate, field)
        columns = np.moveaxis(fields, 2, 0).reshape(len(cell), -1)
        target = np.asarray(total)[:, region].reshape(-1)
        found.append(Kernel(cell, measure, (columns @ columns.T).astype(np.float64), (columns @ target).astype(np.float64), whole))
    return found


def allocate(kernels: list[Kernel], total: int) -> list[int]:
    """Locations of each region, about `total` in all: in proportion to area times the sd of fields inside (Neyman 1934), two at least."""
    size = np.empty(len(kernels))
    for i, k in enumerate(kernels):
        share = k.measure / k.measure.sum()
        size[i] = k.measure.sum() * np.sqrt(max(share @ np.diag(k.gram) - share @ k.gram @ share, 0.0))
    wanted = total * size / max(size.sum(), 1e-30)
    return [int(np.clip(round(w), min(2, len(k.cell)), len(k.cell))) for w, k in zip(wanted, kernels, strict=True)]


def positive_rule(kernel: Kernel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (location,) and non-negative weights (location,) that sum to the region's area; at most `count` of them."""
    if kernel.whole and count >= len(kernel.cell):
        return np.arange(len(kernel.cell)), kernel.measure
    area, root = kernel.measure.sum(), np.sqrt(kernel.measure)
    top = min(count - 1, len(root) - 1)
    size, vector = linalg.eigh(kernel.gram * root[:, None] * root, subset_by_index=[len(root) - top, len(root) - 1])
    keep = size > 1e-7 * size[-1]
    size, vector = size[keep], vector[:, keep]
    field = vector / root[:, None] * np.sqrt(size)  # (candidate, eigenfunction), each as large as the kernel makes it
    wanted = kernel.integral @ (vector * root[:, None]) / np.sqrt(size)
    rest = np.sqrt(np.maximum(np.diag(kernel.gram) - (field**2).sum(axis=1), 0.0) + 1e-12 * size[-1])
    weight = _linear_programme(
        np.column_stack([field, np.full(len(root), np.sqrt(size[-1]))]), np.r_[wanted, np.sqrt(size[-1]) * area], rest
    )
    chosen = np.sort(np.argsort(-weight, kind="stable")[: min(count, int((weight > 1e-9 * area).sum()))])
    return _refit(kernel, chosen)


def _linear_programme(field: np.ndarray, wanted: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Weights of least rest that meet the conditions, (candidate,); what candidates cannot meet costs ten times its size."""
    conditions = len(wanted)
    cost = np.r_[rest, np.full(2 * conditions, 10.0)]
    matrix = np.hstack([field.T, np.eye(conditions), -np.eye(conditions)])
    found = optimize.linprog(cost, A_eq=matrix, b_eq=wanted, bounds=(0, None), method="highs")
    if found.x is None:
        raise RuntimeError(f"representative: the linear programme for the locations failed ({found.message})")
    return np.asarray(found.x[: len(rest)])


def _refit(kernel: Kernel, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative weights of the chosen candidates of least squared error in the whole kernel; they sum to the area."""
    area, gram = kernel.measure.sum(), kernel.gram[np.ix_(chosen, chosen)]
    firm = 100.0 * np.trace(gram) / len(gram)  # how firmly the weights' sum is held
    factor = linalg.cholesky(gram + firm + 1e-7 * firm * np.eye(len(chosen)))
    weight = optimize.nnls(factor, linalg.solve_triangular(factor, kernel.integral[chosen] + firm * area, trans="T"))[0]
    return chosen[weight > 0], weight[weight > 0] * (area / weight.sum())


def as_locations(kernels: list[Kernel], counts: list[int]) -> Locations:
    """The rules of all regions; a region with fewer locations than its count is filled with ones of no weight."""
    cell, weight, at = np.zeros(sum(counts), np.int32), np.zeros((len(kernels), sum(counts)), np.float32), 0
    for region, (kernel, count) in enumerate(zip(kernels, counts, strict=True)):
        chosen, own = positive_rule(kernel, count)
        cell[at : at + count] = kernel.cell[chosen[0]]
        cell[at : at + len(chosen)], weight[region, at : at + len(chosen)] = kernel.cell[chosen], own
        at += count
    return Locations(jnp.asarray(cell), jnp.asarray(weight))


def rule_integrals(networks: Network, regions: RegionData, locations: Locations) -> np.ndarray:
    """Integrals by the rule over every step, (network, region, year, 12) [PgC month-1]."""
    only = regions._replace(every=Locations(locations.cell[None], locations.weight[None]))
    return integrals(networks, only)


def integrals(networks: Network, regions: RegionData) -> np.ndarray:
    """Integrals over all cells and steps, (network, region, year, 12) [PgC month-1]."""
    found = jax.jit(lambda n, d: jax.lax.map(lambda one: integrate_values(lambda rows: one(rows)[..., None], d)[..., 0], n))
    return np.asarray(found(networks, regions), np.float64)


def in_years(regions: RegionData, years: np.ndarray) -> RegionData:
    """The same constraint in some of its years."""
    return regions._replace(
        month_start=regions.month_start[years], month_steps=regions.month_steps[years], month_days=regions.month_days[years]
    )


def measure(error: np.ndarray, locations: Locations, counts: list[int]) -> Structure:
    """What the rule's errors (network, region, year, 12) say: the structure's bias and mean squares by part, of regions and their sum.

    A mean square has the bias in it: bias^2 + variance.
    """
    both_of = np.concatenate([error, error.sum(axis=1, keepdims=True)], axis=1)
    offset, cycle, anomaly = split_parts(both_of)
    years = error.shape[2]
    squares = [
        (offset**2).mean(axis=0),
        (cycle**2).sum(axis=-1).mean(axis=0) / 11,
        (anomaly**2).sum(axis=(2, 3)).mean(axis=0) / (12 * (years - 1)),
    ]
    return Structure(locations, jnp.asarray(counts), jnp.asarray(offset.mean(axis=0)), jnp.asarray(np.stack(squares)))


def annual_error(structure: Structure) -> np.ndarray:
    """Root mean square error of annual integrals, (region + 1,) [PgC yr-1]: of their mean over years."""
    return 12 * np.sqrt(np.asarray(structure.variance[0], np.float64))


def choose(
    objective: Objective, group: np.ndarray, network: NetworkSettings, training: TrainingSettings, error_target: float | None, seed: int
) -> Objective:
    """The objective with its locations chosen and their error measured.

    Parameters
    ----------
    group : array of int, (site,)
        Groups of sites, resampled as a whole.
    error_target : float or None
        Root mean square error of a region's mean annual integral [PgC yr-1]: the number of locations is doubled where it is not reached.

    Raises
    ------
    InputError
        Too few years, or an error target that half of a region's cells do not reach.
    """
    regions = objective.regions
    span = split_time(regions, seed)
    trained = bootstrapped_networks(objective, group, network, training, seed)
    library, test = (jax.tree.map(lambda a, part=part: a[part], trained) for part in (slice(TESTED_ON, None), slice(TESTED_ON)))
    library, test = both(library, perturbed(library, seed + 1)), both(test, perturbed(test, seed + 2))
    kernels = make_kernels(library, regions, span.step)
    held = in_years(regions, span.held)
    truth = integrals(test, held)
    counts = allocate(kernels, objective.locations * len(kernels))
    while True:
        locations = as_locations(kernels, counts)
        structure = measure(rule_integrals(test, held, locations) - truth, locations, counts)
        if error_target is None or not (above := annual_error(structure)[:-1] > error_target).any():
            return replace(objective, regions=regions._replace(structure=structure))
        counts = [_more(k, c, error_target) if a else c for k, c, a in zip(kernels, counts, above, strict=True)]


def _more(kernel: Kernel, count: int, target: float) -> int:
    """Twice as many locations."""
    most = len(kernel.cell) if kernel.whole else int(LARGEST_SHARE * len(kernel.cell))
    if count >= most:
        raise InputError(
            f"inversion_term: error_target {target} PgC yr-1 is not reached with {count} locations in a region; "
            "allow a larger error, or use the estimator stratified or exact"
        )
    return min(2 * count, most)


def refresh(objective: Objective, models: FluxModel, anchor: Anchor, members: Member) -> Objective:
    """The objective with locations fitted anew where the members have moved out of what the library spanned.

    At an anchor the members' exact integrals are known, and with them the rule's error on the members themselves. Where
    that error of the mean annual integrals of any region is more than `MOVED` times the stated one, locations and weights are fitted to
    the members (a few of them) and perturbed copies. R stays as it was: after an anchor only the change since then is left to the rule.
    """
    structure = objective.regions.structure
    if structure is None:
        return objective
    use = np.flatnonzero(np.asarray(members.inversion_weight) > 0)
    use = use[np.unique(np.linspace(0, len(use) - 1, BOOTSTRAPS).astype(int))] if len(use) else use
    networks: Network = jax.tree.map(lambda a: a[use], models.network)
    if not len(use) or not has_moved(
        structure, rule_integrals(networks, objective.regions, structure.locations) - np.asarray(anchor.integral)[use]
    ):
        return objective
    kernels = make_kernels(both(networks, perturbed(networks, 1)), objective.regions, split_time(objective.regions, 1).step)
    locations = as_locations(kernels, np.asarray(structure.number).tolist())
    return replace(objective, regions=objective.regions._replace(structure=structure._replace(locations=locations)))


def has_moved(structure: Structure, error: np.ndarray) -> bool:
    """Whether errors (member, region, year, 12) of mean annual integrals are `MOVED` times the stated ones in any region."""
    found = 12 * np.sqrt((error.mean(axis=(2, 3)) ** 2).mean(axis=0))
    return bool((found > MOVED * annual_error(structure)[:-1] + 1e-6).any())


def structure_table(structure: Structure, regions: tuple[str, ...]) -> pd.DataFrame:
    """The structure's error by region: locations, bias, annual_rmse [PgC yr-1]; offset_rmse, cycle_rmse, anomaly_rmse [PgC month-1]."""
    used = np.asarray((structure.locations.weight > 0).sum(axis=1))
    parts = np.sqrt(np.asarray(structure.variance, np.float64))
    return pd.DataFrame({
        "region": [*regions, "global"], "locations": [*used, used.sum()], "bias": 12 * np.asarray(structure.bias, np.float64),
        "annual_rmse": 12 * parts[0], "offset_rmse": parts[0], "cycle_rmse": parts[1], "anomaly_rmse": parts[2],
    })  # fmt: skip

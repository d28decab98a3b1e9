"""Representative locations chosen for a study: a library of networks, and weights renewed when members have moved out of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.areas import Locations
from dualflux.constraints.inversions.integrals import RegionData
from dualflux.constraints.inversions.representative import (
    Sample,
    annual_error,
    fit_weights,
    has_moved,
    measure,
    place,
    products_error,
    region_areas,
    sample_products,
)
from dualflux.errors import InputError
from dualflux.fitting.library_networks import (
    BOOTSTRAPS,
    Span,
    at_steps,
    bootstrapped_networks,
    in_years,
    integrals,
    moments,
    split_time,
    with_perturbed,
)
from dualflux.fitting.objective import Control, Member, Objective
from dualflux.fitting.training import TrainingSettings
from dualflux.model.flux_model import FluxModel, Network, NetworkSettings

TESTED_ON = 3  # of the library's networks: kept for the measurement of the error
LARGEST_SHARE = 0.5  # of a region's cells, for an error target


def allocate(networks: Network, regions: RegionData, step: np.ndarray, total: int) -> list[int]:
    """Locations of each region, about `total` in all: in proportion to area times the sd of fields inside (Neyman 1934), two at least."""
    areas = region_areas(regions)
    area, cells = areas.sum(axis=1), (areas > 0).sum(axis=1)
    mean, square = np.moveaxis(moments(networks, at_steps(regions, step)) / area[:, None, None], -1, 0)
    size = area * np.sqrt(np.maximum(square - mean**2, 0).mean(axis=(0, 2)))
    wanted = np.rint(total * size / max(size.sum(), 1e-30)).astype(int)
    return [int(n) for n in np.clip(wanted, np.minimum(2, cells), cells)]


def sample_networks(networks: Network, regions: RegionData, locations: Locations, span: Span) -> Sample:
    """Of networks at the span's steps."""
    at = jax.jit(lambda n, d, s: jax.lax.map(lambda one: one(d.walk.cube.block(s, locations.cell)), n))
    field = np.asarray(at(networks, regions, jnp.asarray(span.step)), np.float64)
    return Sample(field, integrals(networks, at_steps(regions, span.step)))


def choose(
    objective: Objective, points: np.ndarray, group: np.ndarray, network: NetworkSettings, training: TrainingSettings,
    products: np.ndarray, error_target: float | None, seed: int,
) -> Objective:  # fmt: skip
    """The objective with its locations chosen and their error measured.

    Parameters
    ----------
    points : array, (cell, feature)
        Places of the cells in predictor space.
    group : array of int, (site,)
        Groups of sites, resampled as a whole.
    products : array, (product, year, 12, cell)
        Fields that join the library [gC m-2 d-1].
    error_target : float or None
        Root mean square error of a region's mean annual integral [PgC yr-1]: the number of locations is doubled where it is not reached.

    Raises
    ------
    InputError
        Too few years, or an error target that half of a region's cells do not reach.
    """
    inversions = objective["inversions"]
    regions = inversions.regions
    span = split_time(regions, seed)
    trained = bootstrapped_networks(objective, group, network, training, seed)
    library, test = (jax.tree.map(lambda a, part=part: a[part], trained) for part in (slice(TESTED_ON, None), slice(TESTED_ON)))
    library, test = with_perturbed(library, seed + 1), with_perturbed(test, seed + 2)
    held = in_years(regions, span.held)
    truth = integrals(test, held)
    counts = allocate(library, regions, span.step, inversions.locations * len(regions.strata.area))
    while True:
        places = place(regions, points, counts)
        samples = sample_networks(library, regions, places, span), sample_products(products, regions, places, span)
        locations = fit_weights(samples, places)
        of_products = products_error(products[:, span.held], held, locations)
        structure = measure(np.concatenate([integrals(test, held, locations) - truth, of_products]), locations)
        if error_target is None or not (above := annual_error(structure)[:-1] > error_target).any():
            return objective.with_constraint(replace(inversions, regions=regions._replace(structure=structure)))
        most = np.maximum(LARGEST_SHARE * (region_areas(regions) > 0).sum(axis=1), 2)
        counts = [_more(c, int(m), error_target) if a else c for c, m, a in zip(counts, most, above, strict=True)]


def _more(count: int, most: int, target: float) -> int:
    """Twice as many locations."""
    if count >= most:
        raise InputError(
            f"inversion_term: error_target {target} PgC yr-1 is not reached with {count} locations in a region, half of its cells; "
            "allow a larger error, or use the estimator stratified or exact"
        )
    return min(2 * count, most)


def refresh(objective: Objective, models: FluxModel, control: Control, members: Member) -> Objective:
    """The objective with weights fitted anew where the members have moved out of what the library spanned.

    Where control variates are set the members' exact integrals are known, and with them the rule's error on the members themselves. Where
    that error of the mean annual integrals of any region is more than `MOVED` times the stated one, the weights are fitted to
    the members (a few of them) and perturbed copies. R stays as it was: from then on only the change is left to the rule.
    """
    inversions = next((c for c in objective.constraints if c.name == "inversions"), None)
    structure = inversions.in_training() if inversions is not None else None
    if inversions is None or structure is None:
        return objective
    regions, known = objective["inversions"].regions, np.asarray(control.known["inversions"])
    use = np.flatnonzero(np.asarray(members.parts["inversions"].weight) > 0)
    use = use[np.unique(np.linspace(0, len(use) - 1, BOOTSTRAPS).astype(int))] if len(use) else use
    networks: Network = jax.tree.map(lambda a: a[use], models.network)
    if not len(use) or not has_moved(structure, integrals(networks, regions, structure.locations) - known[use]):
        return objective
    sample = sample_networks(with_perturbed(networks, 1), regions, structure.locations, split_time(regions, 1))
    locations = fit_weights([sample], structure.locations)
    return objective.with_constraint(inversions.going_on(structure._replace(locations=locations)))

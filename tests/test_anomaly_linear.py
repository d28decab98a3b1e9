"""Regional anomalies in the equations of inversions and towers, and in members drawn from them: a small world against dense algebra."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dualflux.constraints.inversions.covariance import EnsembleError, independent
from dualflux.constraints.inversions.equations import anomaly_part, overlap_of
from dualflux.cube import DeviceCube
from dualflux.fitting.fit_ensembles import linear_step
from dualflux.fitting.posterior_draws import Drawn, draw_posterior
from dualflux.model.anomaly_effect import AnomalyPrior, days
from dualflux.units import PETAGRAM
from small_world import CELLS, SPATIAL, dense_covariance, make_landscape, make_regional, quick_compilation
from test_linear_posterior import CUBE
from test_posterior_draws import OBJECTIVE, make_models, make_stack

YEARS = make_regional(CUBE).years
YEARS_BEGIN = pd.Timestamp("2000-01-01")
REGIONS = len(CELLS.region_names)
SIZE = len(YEARS) * REGIONS * 12
PRIOR = AnomalyPrior(np.array([[0.3], [0.5]]) * np.ones(12), 0.5, 0.3)


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def integrals_of_anomalies() -> np.ndarray:
    """J by hand, (region, year, 12, year, region, 12): cell by cell, a cell has its regions' anomalies by its shares."""
    found = np.zeros((REGIONS, len(YEARS), 12, len(YEARS), REGIONS, 12))
    land = CELLS.land_area
    for r in range(REGIONS):
        for s in range(REGIONS):
            shared = sum(CELLS.region_fraction[r, c] * land[c] * CELLS.region_fraction[s, c] for c in range(len(land))) / PETAGRAM
            for y, i in np.ndindex(len(YEARS), 12):
                found[r, y, i, y, s, i] = shared * days(YEARS)[y, i]
    return found.reshape(-1, SIZE)


def subspace() -> np.ndarray:
    """An orthonormal basis of anomalies whose integrals of each region and calendar month sum to zero, (anomaly, direction)."""
    sums = np.concatenate([np.diag(np.tile(row, REGIONS)) for row in days(YEARS)], axis=1)
    return np.linalg.svd(sums)[2][len(sums) :].T


def test_the_inversions_equations_are_generalised_least_squares_on_the_subspace() -> None:
    """J' R^-1 J, J' R^-1 H and J' R^-1 y with R dense over regions, years and months, although only years' anomalies are used."""
    random = np.random.default_rng(0)
    error = independent(*random.uniform(0.01, 0.1, (3, REGIONS)), np.array([0.3, 0.7]))
    root = 0.2 * random.normal(size=(2, 12 * REGIONS, 12 * REGIONS))
    error = error.plus(EnsembleError(*((r @ r.T).reshape(REGIONS, 12, REGIONS, 12) for r in root)))
    shape = (REGIONS, len(YEARS), 12)
    columns, observed, draw = random.normal(size=(*shape, 5)), *random.normal(size=(2, *shape))
    load = np.einsum("rs,yi->yrsi", overlap_of(CELLS, np.ones(len(CELLS.index))), days(YEARS))
    part = anomaly_part(load, columns, observed, draw, error.precisions()[1], 0.49)
    basis, seen = subspace(), integrals_of_anomalies()
    weighted = 0.49 * np.linalg.solve(dense_covariance(error, len(YEARS)), seen @ basis).T
    blocks = np.zeros((SIZE, SIZE))
    for y, block in enumerate(part.blocks):
        own = slice(y * 12 * REGIONS, (y + 1) * 12 * REGIONS)
        blocks[own, own] = block
    np.testing.assert_allclose(basis.T @ blocks @ basis, weighted @ seen @ basis, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(basis.T @ part.couple, weighted @ columns.reshape(-1, 5), rtol=1e-7, atol=1e-6)
    _, right, *_ = part
    np.testing.assert_allclose(basis.T @ right[:, 0], weighted @ observed.ravel(), rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(0.7 * basis.T @ right[:, 1], weighted @ (draw - observed).ravel(), rtol=1e-7, atol=1e-6)


def drawn(prior: AnomalyPrior | None, shrink: float = 1.0) -> tuple[Drawn, np.ndarray]:
    """Members of `dual` with anomalies of a prior, and their targets; R's anomalies times `shrink`."""
    stack = make_stack(("dual",))
    part = stack.members.parts["inversions"]
    parts = {**stack.members.parts, "inversions": part._replace(anomaly_precision=part.anomaly_precision / shrink)}
    stack = stack._replace(members=stack.members._replace(parts=parts))
    step = linear_step(OBJECTIVE, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL, anomaly=prior)
    return draw_posterior(step, make_models(len(stack.plans)), stack.members), np.asarray(part.target, np.float64)


def integral_of(anomalies: np.ndarray) -> np.ndarray:
    """Regional integrals, (region, year, 12), of anomalies (year, region, 12)."""
    return (integrals_of_anomalies() @ anomalies.ravel()).reshape(REGIONS, len(YEARS), 12)


def test_anomalies_change_neither_offset_nor_mean_cycle() -> None:
    for own in drawn(PRIOR)[0].anomalies:
        assert own is not None and np.abs(own).max() > 0.01
        assert np.abs(integral_of(own).sum(axis=1)).max() < 1e-9


def test_without_a_prior_there_are_no_anomalies() -> None:
    assert drawn(None)[0].anomalies == [None] * 4


def test_where_the_inversions_are_exact_the_analysis_is_what_they_say() -> None:
    """Wide anomalies and inversions without error in theirs: f + a has each member's own target's anomalies."""
    from dualflux.prediction.engine import RegionalAnomalies, integrate_month
    from dualflux.prediction.in_memory import monthly_fluxes

    found, target = drawn(replace(PRIOR, sd=np.full((REGIONS, 12), 50.0)), shrink=1e-8)
    effects = np.stack([a.swapaxes(1, 2).reshape(-1, REGIONS) for a in found.anomalies if a is not None])
    shares = RegionalAnomalies(effects, lambda own: CELLS.region_fraction[:, own])
    place = make_landscape(CUBE).basis.at(CELLS.lat(), CELLS.lon())
    months = monthly_fluxes(found.model.bare(), CUBE, place, (CELLS.lat(), CELLS.lon()), shares)
    integrals = np.stack([integrate_month(m.landscape, CELLS, CUBE.steps.month_days[m.month])[:, :-1] for m in months], axis=-1)
    values = integrals.reshape(len(effects), REGIONS, len(YEARS), 12)
    off, wanted = (v - v.mean(axis=2, keepdims=True) for v in (values, target))
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(off, wanted, atol=2e-3)


def test_regions_may_be_named_in_another_order() -> None:
    """The overlap of shared cells is symmetric: neither region's anomaly is seen more than the other's."""
    overlap = overlap_of(CELLS, np.ones(len(CELLS.index)))
    np.testing.assert_allclose(overlap, overlap.T)
    assert overlap[0, 1] > 0

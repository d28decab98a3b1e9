"""The calibration benchmark: its designs are the project's products, its coverage that of uniform ranks, and a wrong variance is seen."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import calibration
from calibration import PAIRS, WIDER, draw, fixed, inside_share, pooled, records
from calibration_truth import at_cells, at_regions, region_design
from calibration_world import TAILS

from dualflux.fitting.posterior_draws import with_parameters
from dualflux.prediction.engine import RegionalAnomalies
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.units import PETAGRAM


def test_the_designs_are_what_products_and_inversions_are_made_of() -> None:
    """Drawn unknowns and regional anomalies put into the model: `monthly_fluxes` of cells, and their sums over land and days."""
    fix = fixed(TAILS)
    cells, cube, layout = fix.world.cells, fix.world.cube, fix.prior.layout
    unknowns = 0.3 * np.random.default_rng(0).normal(size=(2, layout.size))
    model = with_parameters(jax.tree.map(lambda a: np.stack([a, a]), fix.world.model), unknowns, layout)
    place = fix.world.landscape.basis.at(cells.lat(), cells.lon())
    anomaly = 0.3 * np.random.default_rng(1).normal(size=(2, len(fix.years), len(cells.region_names), 12))
    by_month = anomaly.swapaxes(2, 3).reshape(2, -1, len(cells.region_names))
    alone = RegionalAnomalies(by_month, lambda own: cells.region_fraction[:, own])
    flux = np.stack([m.landscape for m in monthly_fluxes(model, cube, place, anomaly=alone)], axis=1)  # (member, month, cell)
    own = unknowns[:, layout.places(layout.of_flux())]
    of_cells = np.einsum("cyik,mk->mcyi", fix.cells, own) + at_cells(fix, anomaly)
    np.testing.assert_allclose(np.moveaxis(of_cells, 1, -1).reshape(flux.shape), flux, atol=2e-4)
    wanted = (flux * cube.steps.month_days[:, None]) @ cells.region_area.T / PETAGRAM
    of_regions = np.einsum("ryik,mk->mryi", region_design(fix), own) + at_regions(fix, anomaly)
    regional = np.moveaxis(of_regions, 1, -1).reshape(wanted.shape)
    np.testing.assert_allclose(regional, wanted, atol=2e-5 * np.abs(wanted).max() + 2e-5)


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9])
def test_uniform_ranks_have_the_coverage_of_the_level(level: float) -> None:
    ranks = np.arange(PAIRS + 1)
    share = inside_share(ranks, level)
    np.testing.assert_allclose(share, share[::-1], atol=1e-12)
    assert share.mean() == pytest.approx(level)
    assert inside_share(np.array([0, PAIRS]), level).max() < inside_share(np.array([PAIRS // 2]), level)[0] == 1


def drawn(count: int, **wider: float) -> list[dict[tuple[str, str], np.ndarray]]:
    return [draw(seed, wider={**WIDER, **wider}) for seed in range(count)]


@pytest.mark.slow
def test_truths_from_the_priors_are_one_more_member() -> None:
    """80 draws: every coverage within four standard errors of its level, and all of a kind together within three."""
    found = drawn(80)
    assert calibration.worst(records(found)) < 4
    for where in ("unknowns", "sites", "regions", "total", "cells", "regions_analysis", "total_analysis", "cells_analysis"):
        mean, error = pooled(found, where)
        assert abs(mean) < 3 * error, where


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "factor", "where", "draws"),
    [("towers", 4.0, "sites", 32), ("prior", 2.0, "unknowns", 24), ("inversions", 3.0, "regions", 48)],
)
def test_a_wrong_variance_is_seen(wrong: str, factor: float, where: str, draws: int) -> None:
    """The truth varies more than the project is told: intervals hold it too seldom, by more than three standard errors."""
    mean, error = pooled(drawn(draws, **{wrong: factor}), where)
    assert mean < -3 * error

"""Scores of the map: inside regions, on bare ground, near towers and far, on worlds with known answers."""

import numpy as np
import pytest

from dualflux.metrics.parts import part_values
from dualflux.twin.scoring.map_scores import DISTANCE_KEYS, MAP_KEYS, MAP_UNITS, barren_max, coverage_by_distance, within_regions
from dualflux.units import DAYS_PER_MEAN_YEAR

HOME = np.repeat([0, 1, 2], 50)


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """True lasting fluxes of three regions with means far apart, and areas."""
    random = np.random.default_rng(0)
    return random.normal(size=150) + np.array([0.0, 30.0, -50.0])[HOME], random.uniform(1, 3, 150)


def test_the_slope_of_a_product_that_is_k_times_the_truth() -> None:
    """Twice the pattern inside regions and other means of regions: slope 1/2, correlation 1, sd ratio 2."""
    truth, area = drawn()
    product = 2 * truth + np.array([7.0, -3.0, 100.0])[HOME]
    found = within_regions(np.stack([product, product]), truth, HOME, area)
    assert found == pytest.approx({
        "within_region_slope": 0.5, "within_region_map_r": 1.0, "within_region_sd_ratio": 2.0, "within_region_sd_ratio_member": 2.0,
    })  # fmt: skip


def test_members_vary_more_than_their_mean() -> None:
    """Two members of truth + d and truth - d: their mean is the truth, each has sqrt(1 + var d / var truth) its sd."""
    truth, area = np.tile([1.0, -1.0, 1.0, -1.0], 3), np.ones(12)
    off = np.tile([1.0, 1.0, -1.0, -1.0], 3)
    found = within_regions(np.stack([truth + off, truth - off]), truth, np.repeat([0, 1, 2], 4), area)
    assert found["within_region_slope"] == pytest.approx(1) and found["within_region_sd_ratio"] == pytest.approx(1)
    assert found["within_region_sd_ratio_member"] == pytest.approx(np.sqrt(2))


def test_large_cells_count_more() -> None:
    """One region: slope 1 where cells are large, 0.5 where they are small; area decides."""
    truth, product = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([-1.0, 1.0, -2.0, 2.0])
    found = within_regions(product[None], truth, np.zeros(4, int), np.array([4.0, 4.0, 1.0, 1.0]))
    assert found["within_region_slope"] == pytest.approx((4 + 2) / (4 + 4))


def test_bare_ground_is_above_its_fraction_or_the_barest_there_is() -> None:
    flux = np.array([1.0, -2.0, 9.0]) / DAYS_PER_MEAN_YEAR
    assert barren_max(flux, np.array([0.95, 0.81, 0.8])) == pytest.approx(2.0)
    assert barren_max(flux, np.array([0.5, 0.3, 0.45])) == pytest.approx(9.0)


def test_coverage_by_distance_counts_each_class_alone() -> None:
    """Near cells always hold the truth, those between never, far ones half of their area; anomalies are right everywhere."""
    distance = np.array([0.0, 499.0, 500.0, 1000.0, 1001.0, np.inf])
    random = np.random.default_rng(0)
    members = np.repeat(random.normal(size=(4, 6, 1, 1)), 24, axis=2).reshape(4, 6, 2, 12)
    members = members + random.normal(size=(4, 6, 2, 12))
    members = np.concatenate([members, -members])
    truth = np.zeros((6, 2, 12)) + np.array([0.0, 0.0, 99.0, 99.0, 0.0, 99.0])[:, None, None]
    values = part_values(members, truth, np.arange(6), np.array([1.0, 1.0, 1.0, 1.0, 3.0, 1.0]), year_sum=1.0)
    found = coverage_by_distance(values, distance)
    lasting = {w: [found[f"cells_coverage_{p}_{w}"] for p in (50, 68, 90)] for w in ("near", "middle", "far")}
    assert lasting == {"near": [1, 1, 1], "middle": [0, 0, 0], "far": pytest.approx([0.75] * 3)}
    assert all(v == 1 for k, v in found.items() if k.startswith("cells_coverage") and "anomaly" in k)
    assert set(found) == set(DISTANCE_KEYS) and set(MAP_UNITS) == set(MAP_KEYS)
    assert set(coverage_by_distance(values, np.zeros(6))) == {k for k in DISTANCE_KEYS if k.endswith("near")}

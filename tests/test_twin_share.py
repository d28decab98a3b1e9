"""What the synthetic inversions have in common: a share that differs from world to world, and of which their spread shows nothing."""

import json
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualflux.metrics.parts import PARTS, split_months
from dualflux.twin import WorldSettings, build_world, world_facts, write_world
from dualflux.twin.atmosphere import COMMON_SHARES, common_share_of, invert
from dualflux.twin.geography import build_geography, random_generator
from dualflux.units import PETAGRAM

YEARS, WORLDS = 5, 20  # of each share


def errors_of(seed: int) -> np.ndarray:
    """Regional errors of the four products that cover all years, (product, region, year, 12) [PgC d-1]."""
    geography = build_geography(10.0)
    months = pd.date_range("2001-01-01", periods=12 * YEARS, freq="MS")
    random = random_generator(seed, "a flux for a test")
    season = np.cos(2 * np.pi * np.arange(12 * YEARS) / 12)[:, None] * np.sign(geography.lat)
    exchange = season + 0.1 * random.normal(size=season.shape)
    found = invert(geography, months, exchange, np.ones_like(exchange), 1.0, seed)
    assert found.common_share == common_share_of(seed)
    error = (found.flux[:4] - exchange) @ geography.cells.region_area.T / PETAGRAM
    return np.moveaxis(error, 1, 2).reshape(4, -1, YEARS, 12)


def test_four_seeds_in_a_row_draw_all_four_shares_in_an_order_that_differs() -> None:
    blocks = [tuple(common_share_of(s) for s in range(first, first + 4)) for first in range(0, 400, 4)]
    assert {tuple(sorted(block)) for block in blocks} == {COMMON_SHARES}
    first, positions = np.array([block[0] for block in blocks]), len(set(blocks))
    assert positions > 15 and all(abs((first == k).mean() - 0.25) < 0.15 for k in COMMON_SHARES)
    assert {common_share_of(seed) for seed in range(11, 16)} == set(COMMON_SHARES)


@pytest.mark.parametrize("share", COMMON_SHARES)
def test_the_variance_of_the_common_error_is_the_share_squared_of_a_products_own(share: float) -> None:
    """By part: products' covariance over the variance between them, pooled over regions and worlds, is k^2 within four standard errors."""
    seeds = [s for s in range(4 * WORLDS) if common_share_of(s) == share]
    assert len(seeds) == WORLDS
    parts = [split_months(errors_of(seed)) for seed in seeds]
    for part in PARTS:
        values = [p[part] for p in parts]
        common = np.array([np.mean([(v[i] * v[j]).sum() for i, j in combinations(range(4), 2)]) for v in values])
        own = np.array([v.var(axis=0, ddof=1).sum() for v in values])
        found = common.mean() / own.mean()
        error = (common - share**2 * own).std(ddof=1) / own.mean() / np.sqrt(WORLDS)
        assert abs(found - share**2) < 4 * error, (part, found, error)
        assert error < 0.1 + 0.25 * share**2  # it could have been told


def test_the_share_is_told_beside_the_truth_and_the_world_is_the_same_again(tmp_path: Path) -> None:
    settings = WorldSettings(resolution=10.0, end=date(2002, 12, 31), towers=12, unseen_towers=2, seed=3)
    world = build_world(settings)
    study = write_world(world, tmp_path)
    facts = json.loads((tmp_path / "truth/facts.json").read_text())
    assert facts == world_facts(build_world(settings)) and facts["common_share"] == common_share_of(3)
    assert "common_share" not in study.read_text() + (tmp_path / "world.json").read_text()

"""The length of a study's steps is asked of one object: months, days, and hours would fit."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflux import cube as cubes
from dualflux.cube import Columns, Cube, Steps, TimeStep, no_series
from dualflux.features import between_months
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import harmonics
from dualflux.prediction.in_memory import monthly_fluxes

HOURLY = TimeStep("hourly", "h")


@pytest.mark.parametrize(
    ("length", "seasons", "longest"), [(TimeStep.named("monthly"), 12, 1), (TimeStep.named("daily"), 366, 31), (HOURLY, 8784, 744)]
)
def test_parts_of_the_mean_year(length: TimeStep, seasons: int, longest: int) -> None:
    """12 months of one step; 366 days; 366 x 24 hours: each part has a place of its own, in order."""
    assert (length.seasons, length.longest_month, length.is_month) == (seasons, longest, longest == 1)
    month, step = length.place()
    assert len({*zip(month.tolist(), step.tolist(), strict=True)}) == seasons
    assert np.bincount(month).tolist() == [
        longest // 31 * days if longest > 1 else 1 for days in (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    ]
    assert step.max() == longest - 1 and (np.diff(month) >= 0).all()


@given(st.datetimes(pd.Timestamp("1901-01-01").to_pydatetime(), pd.Timestamp("2100-12-31").to_pydatetime()))
def test_every_hour_has_the_place_of_its_date(moment: object) -> None:
    """Month, day and hour of the part are those of the moment, in leap years and others."""
    stamp = pd.Timestamp(str(moment)).floor("h")
    month, step = (int(a[HOURLY.season(pd.DatetimeIndex([stamp]))[0]]) for a in HOURLY.place())
    assert (month + 1, step // 24 + 1, step % 24) == (stamp.month, stamp.day, stamp.hour)
    day = TimeStep.named("daily").season(pd.DatetimeIndex([stamp.normalize()]))[0]
    assert HOURLY.season(pd.DatetimeIndex([stamp]))[0] == day * 24 + stamp.hour


def test_some_months_of_an_axis() -> None:
    steps = Steps.create("2003-11-01", "2004-04-30", "daily")
    part = steps.of_months(slice(3, 5))
    whole = Steps.create("2004-02-01", "2004-03-31", "daily")
    for one, two in zip(part, whole, strict=True):
        assert one == two if isinstance(one, TimeStep) else (np.asarray(one) == np.asarray(two)).all()


@pytest.mark.parametrize("length", [TimeStep.named("daily"), HOURLY])
def test_a_monthly_climatology_between_months(length: TimeStep) -> None:
    """A constant stays; at the middle of July, day 197 of the mean year at 12 h, it has July's value."""
    assert (between_months(np.full((12, 1), 3.0), length) == 3.0).all()
    one = between_months(np.eye(12), length)
    per_day = length.seasons // 366
    middle = int(197.5 * per_day)
    around = one[middle - (per_day > 1) : middle + 1, 6]
    assert around.mean() == pytest.approx(1.0, abs=0.02) and one.sum(axis=1) == pytest.approx(1.0)


def test_a_month_is_the_mean_of_its_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """January and February 2004 in hours: the engine against plain rows, all cells."""
    monkeypatch.setitem(cubes.TIME_STEPS, "hourly", HOURLY)
    steps, rng = Steps.create("2004-01-01", "2004-02-29", "hourly"), np.random.default_rng(0)
    assert steps.month_steps.tolist() == [744, 696] and steps.month_days.tolist() == [31, 29]
    shapes = ((5, 2), (HOURLY.seasons, 5, 1), (len(steps.time), 5, 2))
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    cube = Cube(*arrays, steps, Columns(("a", "b"), ("s",), ("x", "y")), np.zeros(5), np.ones(5), *no_series(steps))
    one = FluxModel.create(jax.random.key(0), 5, 3, {}, NetworkSettings(hidden=(4,), activation="tanh"))
    one = replace(one, spatial=jnp.asarray(rng.normal(size=(7, 2)), jnp.float32))
    place = rng.normal(size=(5, 2))
    found = list(monthly_fluxes(jax.tree.map(lambda a: a[None], one), cube, place))
    wave = harmonics(steps.season, HOURLY.seasons)
    for month in found:
        step = np.arange(steps.month_start[month.month], steps.month_start[month.month] + steps.month_steps[month.month])
        for cell in range(5):
            u = wave[step] @ (np.asarray(one.spatial, np.float64) @ place[cell])
            plain = one.fluxes(jnp.asarray(cube.rows(step, np.full(len(step), cell))), jnp.asarray(u, jnp.float32))
            np.testing.assert_allclose(month.landscape[0, cell], np.asarray(plain.landscape, np.float64).mean(), rtol=1e-4, atol=1e-5)

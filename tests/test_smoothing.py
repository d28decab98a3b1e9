"""Smoothing over land: known integrals of a Gaussian, no border in the result, and the same values wherever it is done."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError
from scipy.special import erf

from dualflux.errors import InputError, doubts
from dualflux.geometry.sphere import MEAN_RADIUS_KM, great_circle
from dualflux.grid import Grid, LandCells, Regions
from dualflux.sources.predictors import smooth as smoothing
from dualflux.sources.predictors.read import read_predictors
from dualflux.sources.predictors.settings import PredictorSettings
from dualflux.sources.predictors.smooth import smooth, smoothing_matrix
from predict_world import made_twice, study_text, write_files


def land(resolution: float, fraction: np.ndarray | None = None) -> LandCells:
    """All of the sphere, or the stated share of each cell."""
    grid = Grid.global_regular(resolution)
    return LandCells.build(grid, np.ones(grid.shape) if fraction is None else fraction, Regions(("world",), np.ones((1, *grid.shape))))


CELLS = land(2.0)


def test_a_constant_field_is_unchanged_and_weights_sum_to_one() -> None:
    """Over a ragged land of cells that are land in part; weights are areas times a Gaussian."""
    rng = np.random.default_rng(0)
    cells = land(6.0, np.where(rng.random((30, 60)) < 0.4, rng.random((30, 60)), 0.0))
    np.testing.assert_allclose(smooth(np.full((3, cells.index.size), 7.0), 800.0, cells, "x"), 7.0, rtol=1e-12)
    matrix = smoothing_matrix(cells.lat(), cells.lon(), cells.land_area, 800.0).toarray()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    d = MEAN_RADIUS_KM * great_circle(cells.lat()[:, None], cells.lon()[:, None], cells.lat(), cells.lon())
    expected = np.where(d <= 2400, np.exp(-(d**2) / 2 / 800**2) * cells.land_area, 0)
    np.testing.assert_allclose(matrix, expected / expected.sum(axis=1, keepdims=True), atol=1e-9)


@pytest.mark.parametrize("border", ["equator", "meridian"])
@pytest.mark.parametrize("resolution", [1.0, 2.0])
def test_a_step_across_a_border_becomes_the_error_function(border: str, resolution: float) -> None:
    """(1 + erf(d / sqrt(2) L)) / 2 at distance d from a great circle, to .01: the Gaussian ends at 3 L, where 1.1 % of it lies beyond."""
    cells, length = land(resolution), 400.0
    wide = (np.abs(cells.lat()) < 35) & (np.abs(cells.lon()) < 35)  # holds all within 3 L of what is compared
    cells = LandCells(cells.grid, cells.index[wide], cells.land_area[wide], cells.region_names, cells.region_fraction[:, wide])
    near = (np.abs(cells.lat()) < 20) & (np.abs(cells.lon()) < 20)
    degrees = cells.lat() if border == "equator" else cells.lon()
    found = smooth((degrees > 0).astype(float)[None], length, cells, "x")[0]
    distance = MEAN_RADIUS_KM * np.arcsin(
        np.sin(np.radians(cells.lat())) if border == "equator" else np.cos(np.radians(cells.lat())) * np.sin(np.radians(cells.lon()))
    )
    np.testing.assert_allclose(found[near], ((1 + erf(distance / length / np.sqrt(2))) / 2)[near], atol=0.01)


def test_one_and_two_degrees_agree() -> None:
    """A continent of 72 degrees, countries of 14 with values from 0 to 10: smoothed at 1 degree and averaged to 2, or at 2; to .1."""
    values, results = np.random.default_rng(1).uniform(0, 10, (6, 6)), []
    for resolution in (1.0, 2.0):
        grid = Grid.global_regular(resolution)
        cells = land(resolution, np.outer(np.abs(grid.lat) < 36, np.abs(grid.lon) < 36).astype(float))
        country = values[((cells.lat() + 36) // 14).astype(int), ((cells.lon() + 36) // 14).astype(int)]
        results.append(smooth(country[None], 500.0, cells, "x")[0])
    mean = results[0].reshape(36, 2, 36, 2).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(results[1], mean, atol=0.1)


def test_a_missing_cell_stays_missing_and_gives_nothing_to_its_neighbours() -> None:
    """Rule `drop`: with the cell gone, the others are as if it had never been land."""
    rng = np.random.default_rng(2)
    cells = land(10.0)
    values = rng.normal(size=(2, cells.index.size))
    values[1, 300] = np.nan
    found = smooth(values.copy(), 1500.0, cells, "x")
    keep = np.arange(cells.index.size) != 300
    without = LandCells(cells.grid, cells.index[keep], cells.land_area[keep], cells.region_names, cells.region_fraction[:, keep])
    np.testing.assert_allclose(found[1, keep], smooth(values[1:, keep].copy(), 1500.0, without, "x")[0], rtol=1e-10)
    assert np.isnan(found[1, 300]) and np.isfinite(found[0]).all()


@pytest.mark.parametrize("kind", ["static", "climatology", "dynamic"])
def test_a_predictor_is_filled_then_smoothed(tmp_path: Path, kind: str) -> None:
    """One missing cell of `x` that `missing: {value: 5}` fills: 5 at the cell is smoothed with the others; each field by itself."""
    grid = Grid.global_regular(10.0)
    cells = land(10.0)
    leads = {"static": (), "climatology": ("month",), "dynamic": ("time",)}[kind]
    time = pd.date_range("2001-01-01", periods=12, freq="MS")
    values = np.random.default_rng(3).normal(size=(*(12 for _ in leads), *grid.shape))
    values[..., 5, 7] = np.nan
    coords: dict[str, Any] = {"lat": grid.lat, "lon": grid.lon, "time": time, "month": np.arange(1, 13)}
    data = xr.DataArray(values, {d: coords[d] for d in (*leads, "lat", "lon")}, (*leads, "lat", "lon"), "x", {"units": "1"})
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    one = PredictorSettings(name="x", path="x.nc", kind=kind, missing={"value": 5}, smooth=1500)
    found = read_predictors([one], tmp_path, grid, cells, time, "monthly").x
    plain = np.nan_to_num(values, nan=5.0).reshape(-1, cells.index.size)
    matrix = smoothing_matrix(cells.lat(), cells.lon(), cells.land_area, 1500.0)
    np.testing.assert_allclose(found.to_numpy().reshape(-1, cells.index.size), plain @ matrix.T.toarray(), atol=1e-5)
    assert found.attrs["filled_share"] > 0


def test_predict_smooths_as_training_does(tmp_path: Path) -> None:
    """Column by column, bit by bit: a tile's cells are smoothed with all land around them, also where rules fill and drop."""
    write_files(tmp_path, "monthly")
    text = study_text("monthly")
    text["predictors"] = [one | ({"smooth": 1500} if one["name"] in ("ta", "wet") else {}) for one in text["predictors"]]
    for trained, stored in made_twice(tmp_path, text):
        np.testing.assert_array_equal(trained, stored)


def test_what_cannot_be_smoothed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="`smooth` is for kinds dynamic, static and climatology; remove it"):
        PredictorSettings(name="x", path="x.nc", kind="fractions", smooth=100)
    with pytest.raises(ValidationError, match=r"a derived predictor has no path, variable, .* smooth"):
        PredictorSettings(name="anomaly(x)", derived=True, smooth=100)
    with doubts() as said:
        smooth(np.zeros((1, CELLS.index.size)), 50.0, CELLS, "rain.nc: `x`")
    assert said == ["rain.nc: `x`: `smooth: 50` km is less than a third of a cell's height (222 km) and changes next to nothing"]
    monkeypatch.setattr(smoothing, "MOST_WEIGHTS", 1000)
    with pytest.raises(
        InputError, match=r"rain.nc: `x`: `smooth: 60` km over 16200 land cells has 0 million weights; allowed are 0 million"
    ):
        smooth(np.zeros((1, CELLS.index.size)), 60.0, CELLS, "rain.nc: `x`")

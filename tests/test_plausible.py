"""What a number can be: physical limits, fills, valid ranges and unwritten chunks, each in a small file with a known answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from dualflux.errors import InputError, doubts
from dualflux.grid import Grid, LandCells, Regions
from dualflux.sources.files.declared import refuse_text_for_numbers, valid_range
from dualflux.sources.files.gridded import find_variable, open_gridded, read_values
from dualflux.sources.files.plausible import Plausible, limits_of, undeclared_fill
from dualflux.sources.files.time_axis import time_steps
from dualflux.sources.inversions.read import read_inversions
from dualflux.sources.inversions.settings import GriddedInversions, TableInversions
from dualflux.sources.land.read import LandFractionSettings, read_land_fraction
from dualflux.sources.land.region_masks import MaskSettings, read_regions
from dualflux.sources.predictors.read import read_predictor
from dualflux.sources.predictors.settings import PredictorSettings

GRID = Grid.global_regular(30)
PLACE = {"lat": GRID.lat, "lon": GRID.lon}
MONTHS = pd.date_range("2001-01-01", periods=12, freq="MS")
WAVE = np.linspace(-30, 35, 72).reshape(6, 12)
WHOLE = Regions(("north", "south"), np.stack([GRID.lat > 0, GRID.lat < 0])[:, :, None] * np.ones((1, 1, 12)))
CELLS = LandCells.build(GRID, np.full(GRID.shape, 0.5), WHOLE)


def save(folder: Path, values: np.ndarray, units: str | None, name: str = "x", attrs: dict | None = None, **encoding: object) -> None:
    dims = ("time", "lat", "lon")[-values.ndim :]
    data = xr.DataArray(values, {**PLACE, **({"time": MONTHS} if values.ndim == 3 else {})}, dims, attrs={**(attrs or {})})
    if units is not None:
        data.attrs["units"] = units
    data.to_dataset(name=name).to_netcdf(folder / "x.nc", engine="h5netcdf", encoding={name: encoding} if encoding else None)


def one(folder: Path, name: str = "x", kind: str = "static", **said: object) -> np.ndarray:
    settings = PredictorSettings(name=name, path="x.nc", kind=kind, **said)  # type: ignore[arg-type]
    return read_predictor(settings, folder, GRID, CELLS, MONTHS, "monthly").to_numpy()


def with_value(value: float, field: np.ndarray = WAVE) -> np.ndarray:
    changed = np.array(field, dtype=float)
    changed[..., 2, 5] = value
    return changed


@pytest.mark.parametrize(
    ("name", "units", "field", "value"),
    [
        ("ta", "degC", WAVE, -999.0), ("ta", "degC", WAVE, -99.0), ("ta", "degC", WAVE, 9999.0), ("ta", "degC", WAVE, 32767.0),
        ("ta", "degC", WAVE, 1e15), ("ta", "degC", WAVE, -6999.0), ("ta", "K", WAVE + 273, -5.0), ("ta", "degC", WAVE, -280.0),
        ("rain", "mm d-1", WAVE + 30, -4.0), ("tp", "m", (WAVE + 30) / 1e3, -0.02), ("sw_in", "W m-2", WAVE + 100, -60.0),
        ("tree_fraction", "1", (WAVE + 30) / 80, 1.3), ("cover", "%", WAVE + 30, 140.0), ("cover", "(0 - 1)", (WAVE + 30) / 80, -0.4),
        ("ndvi", "1", WAVE / 40, -99.0), ("height", "m", (WAVE + 30) * 50, -99.0), ("texture", "class", np.round(WAVE + 40), 255.0),
        ("ps", "hPa", WAVE + 980, 32767.0), ("wind", "m s-1", WAVE / 10, 999.9),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_named_with_their_number_of_cells(
    name: str, units: str, field: np.ndarray, value: float, tmp_path: Path
) -> None:
    save(tmp_path, with_value(value, field), units)
    with pytest.raises(InputError, match=rf"x.nc: `x` \(predictor `{name}`\): .*{value:.6g}".replace("+", r"\+")) as found:
        one(tmp_path, name, variable="x")
    said = str(found.value)
    assert "in 1 cell" in said and f"fill_value: {value:.10g}" in said and "implausible: accept" in said
    kept = one(tmp_path, name, variable="x", implausible="accept")
    assert np.isclose(kept.reshape(6, 12)[2, 5], value)
    filled = one(tmp_path, name, variable="x", fill_value=value, missing={"value": 7})
    assert filled.reshape(6, 12)[2, 5] == 7
    np.testing.assert_allclose(np.delete(filled, 29), np.delete(np.asarray(field, dtype=float).ravel(), 29), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "units", "field"),
    [
        ("net_radiation", "W m-2", with_value(-80.0, WAVE + 100)),
        ("evaporation", "mm d-1", with_value(-3.0, WAVE / 10)),
        ("ta_anomaly", "K", WAVE / 10),
        ("ndvi", "1", with_value(-0.2, (WAVE + 30) / 80)),
        ("relative_humidity", "%", with_value(104.0, WAVE + 60)),
        ("rain", "mm d-1", with_value(-1e-9, WAVE + 30)),
        ("height", "m", with_value(-420.0, (WAVE + 30) * 50)),
        ("lai", "m2 m-2", WAVE / 10 + 3),
        ("percent", "%", np.append(np.arange(71.0), 99.0).reshape(6, 12)),
    ],
)
def test_rare_but_possible_values_are_read(name: str, units: str, field: np.ndarray, tmp_path: Path) -> None:
    save(tmp_path, field, units)
    np.testing.assert_allclose(one(tmp_path, name, variable="x"), field.ravel(), rtol=1e-5)


def test_kelvin_labelled_celsius_names_the_right_unit(tmp_path: Path) -> None:
    save(tmp_path, WAVE + 273.15, "degC")
    with pytest.raises(InputError, match=r"308.15 degC in 72 cells, .*say `file_units: K` if that is what it is in"):
        one(tmp_path, "ta", variable="x")
    np.testing.assert_allclose(one(tmp_path, "ta", variable="x", file_units="K", units="degC"), WAVE.ravel(), atol=1e-4)


def test_what_lies_over_the_sea_need_not_be_plausible(tmp_path: Path) -> None:
    save(tmp_path, with_value(-999.0), "degC")
    cells = LandCells.build(GRID, with_value(0.0, np.full(GRID.shape, 0.5)), WHOLE)
    settings = PredictorSettings(name="x", path="x.nc", kind="static")
    assert read_predictor(settings, tmp_path, GRID, cells, MONTHS, "monthly").size == 71


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([-999.0, 3.2, 14.1], -999.0),
        ([-999.0, -9999.0, 3.2], -9999.0),
        ([0.0, 0.0, 255.0], 255.0),
        ([-5.0, 12.5, 2000.0, -99.0], -99.0),
        ([950.0, 999.0, 1020.0], None),
        ([-120.0, -99.0, 400.0], None),
        ([40.0, 99.0, 140.0], None),
        ([np.nan, np.nan], None),
    ],
)
def test_a_fill_stands_apart_from_all_other_values(values: list[float], found: float | None) -> None:
    assert undeclared_fill(np.array(values)) == found


def test_limits_are_in_the_unit_of_the_file() -> None:
    quantity, (low, high) = limits_of("J m-2 d-1", ["ssrd"]) or ("", (0, 0))
    assert (quantity, low, high) == ("irradiance", -5 * 86400, 2000 * 86400)
    assert (limits_of("0.1 degC", ["t"]) or ("", ()))[1] == pytest.approx((-981.5, 868.5))


def test_accepted_values_are_doubts() -> None:
    with doubts() as found:
        Plausible("a.nc: `t`", "degC", "temperature", (-90.0, 90.0), accept=True).require(np.array([[1.0, 300.0]]))
    assert found == [
        "a.nc: `t`: 300 degC in 1 cell, which no temperature can be (-90 to 90); a wrong unit, or a fill value that is not declared; "
        "taken as it is (`implausible: accept`)"
    ]


# --- what files declare ---


def test_valid_range_is_packed_where_it_has_the_type_of_the_packed_data(tmp_path: Path) -> None:
    """Counts 0 to 100 at 0.1 each: 3 to 50 as int16 are 0.3 to 5, as float they are 3 to 50."""
    numbers = np.arange(72).reshape(6, 12) / 10
    for limits, low, high in ((np.array([3, 50], "i2"), 0.3, 5.0), (np.array([3.0, 5.0], "f8"), 3.0, 5.0)):
        save(tmp_path, numbers, "1", attrs={"valid_range": limits}, dtype="i2", scale_factor=np.float32(0.1))
        with open_gridded(tmp_path / "x.nc") as data:
            variable = find_variable(data, "x", tmp_path / "x.nc")
            assert valid_range(variable) == pytest.approx((low, high), abs=1e-4)
            values = read_values(variable, "x")
        np.testing.assert_array_equal(np.isnan(values), (numbers < low - 0.01) | (numbers > high + 0.01))


@pytest.mark.parametrize("attribute", [{"valid_min": 0.0}, {"valid_max": 34.0}, {"valid_range": np.array([-20.0, 40.0])}])
def test_values_outside_the_valid_range_are_missing(attribute: dict, tmp_path: Path) -> None:
    save(tmp_path, WAVE, "degC", attrs=attribute)
    with pytest.raises(InputError, match=r"land cells .* have no value.*outside the file's valid range .*`implausible: accept`"):
        one(tmp_path)
    np.testing.assert_allclose(one(tmp_path, implausible="accept"), WAVE.ravel(), rtol=1e-6)


def test_a_valid_range_as_text_is_named(tmp_path: Path) -> None:
    save(tmp_path, WAVE, "degC", attrs={"valid_range": "-20, 40"})
    with pytest.raises(InputError, match="a valid range as text"):
        one(tmp_path)


@pytest.mark.parametrize(("kind", "fill"), [("i2", -32767), ("i4", -2147483647), ("f4", 9.969209968386869e36)])
def test_the_default_fill_of_the_type_is_missing(kind: str, fill: float, tmp_path: Path) -> None:
    save(tmp_path, WAVE, "degC")
    with h5py.File(tmp_path / "x.nc", "r+") as file:
        units, scales = file["x"].attrs["units"], [file["lat"], file["lon"]]
        del file["x"]
        values = np.round(WAVE).astype(kind)
        values[2, 5] = fill
        file["x"] = values
        file["x"].attrs["units"] = units
        for i, scale in enumerate(scales):
            file["x"].dims[i].attach_scale(scale)
    with pytest.raises(InputError, match=r"1 of 72 land cells .* have no value"):
        one(tmp_path)
    assert one(tmp_path, missing="nearest").reshape(6, 12)[2, 5] == pytest.approx(values[2, [4, 6]].mean(), abs=2)


@pytest.mark.parametrize("key", ["scale_factor", "add_offset", "missing_value"])
def test_text_where_a_number_belongs_is_named(key: str, tmp_path: Path) -> None:
    save(tmp_path, WAVE, "degC", attrs={key: "0.1"})
    with pytest.raises(InputError, match=rf"attribute {key} as text \('0.1'\).*ncatted -O -a {key},x,o,d,0.1 x.nc"):
        one(tmp_path)


# --- chunks that were never written ---


def _hdf5(folder: Path) -> None:
    save(folder, np.broadcast_to(WAVE + 40, (12, 6, 12)), "degC", chunksizes=(3, 6, 12))
    with h5py.File(folder / "x.nc", "r+") as file:
        whole, units = file["x"][:], file["x"].attrs["units"]
        scales = [file[n] for n in ("time", "lat", "lon")]
        del file["x"]
        new = file.create_dataset("x", whole.shape, "f8", chunks=(3, 6, 12))
        new[:6] = whole[:6]
        new.attrs["units"] = units
        for i, scale in enumerate(scales):
            new.dims[i].attach_scale(scale)


def _zarr(version: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        data = xr.DataArray(
            np.broadcast_to(WAVE + 40, (12, 6, 12)), {"time": MONTHS, **PLACE}, ("time", "lat", "lon"), attrs={"units": "degC"}
        )
        data.to_dataset(name="x").to_zarr(folder / "x.nc", zarr_format=version, encoding={"x": {"chunks": (3, 6, 12)}}, consolidated=False)
        array = zarr.open_group(folder / "x.nc", mode="r")["x"]
        for part in (2, 3):
            (folder / "x.nc" / "x" / array.metadata.encode_chunk_key((part, 0, 0))).unlink()

    return write


@pytest.mark.parametrize("write", [_hdf5, _zarr(2), _zarr(3)])
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_chunks_that_were_never_written_are_counted(write: Callable[[Path], None], tmp_path: Path) -> None:
    """Two of four chunks in time: July to December read as 0 degC, which is no error of any other kind."""
    write(tmp_path)
    with pytest.raises(InputError, match=r"2 of 4 chunks were never written.*get it again.*`missing: \{value: x\}`"):
        one(tmp_path, kind="dynamic")
    with doubts() as found:
        values = one(tmp_path, kind="dynamic", missing={"value": 3}).reshape(12, 72)
    assert "2 of 4 chunks were never written" in found[0]
    np.testing.assert_allclose(values[:6], np.broadcast_to((WAVE + 40).ravel(), (6, 72)), rtol=1e-6)
    assert (values[6:] == 3).all()


def test_unwritten_chunks_that_are_not_used_do_no_harm(tmp_path: Path) -> None:
    _hdf5(tmp_path)
    settings = PredictorSettings(name="x", path="x.nc", kind="dynamic")
    assert read_predictor(settings, tmp_path, GRID, CELLS, MONTHS[:6], "monthly").shape == (6, 72)


# --- land and masks ---


@pytest.mark.parametrize(("units", "scale"), [("(0 - 1)", 1), ("%", 100), ("fraction (0-1)", 1), ("percent (0-100)", 100), ("1e-2", 100)])
def test_units_of_a_land_fraction(units: str, scale: float, tmp_path: Path) -> None:
    save(tmp_path, np.full(GRID.shape, 0.6 * scale), units)
    assert read_land_fraction(LandFractionSettings(path="x.nc", variable="x"), tmp_path, GRID) == pytest.approx(0.6)


def test_the_study_may_state_the_unit_of_a_land_fraction(tmp_path: Path) -> None:
    save(tmp_path, np.full((1, *GRID.shape), 60.0)[0], "area share")
    with pytest.raises(InputError, match=r"the file has unit `area share`; allowed: a fraction .*`units: 1`"):
        read_land_fraction(LandFractionSettings(path="x.nc", variable="x"), tmp_path, GRID)
    assert read_land_fraction(LandFractionSettings(path="x.nc", variable="x", units="%"), tmp_path, GRID) == pytest.approx(0.6)


def test_percent_that_is_none(tmp_path: Path) -> None:
    save(tmp_path, np.full(GRID.shape, 0.6), "%")
    with pytest.raises(InputError, match=r"the largest value is 0.6 %, so the values are no percent.*`units: 1`"):
        read_land_fraction(LandFractionSettings(path="x.nc", variable="x"), tmp_path, GRID)


def test_a_fill_inside_a_fine_land_fraction_is_found(tmp_path: Path) -> None:
    """Among 90 fine cells of a coarse one -99 would only lower the mean."""
    fine = Grid.global_regular(3)
    values = np.full(fine.shape, 0.6)
    values[10, 20] = -99
    xr.DataArray(values, {"lat": fine.lat, "lon": fine.lon}, ("lat", "lon"), name="x").to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="the value -99 stands in 1 cell"):
        read_land_fraction(LandFractionSettings(path="x.nc", variable="x"), tmp_path, GRID)


@pytest.mark.parametrize(("units", "scale"), [("%", 100), ("(0 - 1)", 1), (None, 1)])
def test_units_of_a_mask_of_fractions(units: str | None, scale: float, tmp_path: Path) -> None:
    shares = xr.DataArray(WHOLE.fraction * scale, {"region": ["north", "south"], **PLACE}, ("region", "lat", "lon"), name="x")
    shares = shares if units is None else shares.assign_attrs(units=units)
    shares.expand_dims(time=[0]).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    found = read_regions(MaskSettings(path="x.nc", variable="x"), tmp_path, GRID)
    np.testing.assert_array_equal(found.fraction, WHOLE.fraction)
    stated = MaskSettings(path="x.nc", variable="x", units="%" if scale == 100 else "1")
    np.testing.assert_array_equal(read_regions(stated, tmp_path, GRID).fraction, WHOLE.fraction)


def test_a_mask_of_numbers_has_no_unit(tmp_path: Path) -> None:
    save(tmp_path, np.where(WHOLE.fraction[0] > 0, 1, 2), None, attrs={"flag_values": np.array([1, 2]), "flag_meanings": "north south"})
    with pytest.raises(InputError, match="a mask of whole numbers has no unit; remove `units`"):
        read_regions(MaskSettings(path="x.nc", variable="x", units="1"), tmp_path, GRID)


# --- sums over steps ---


@pytest.mark.parametrize(
    ("units", "per", "wanted", "value", "expected"),
    [
        ("J m-2", "day", "W m-2", 8.64e6, 100.0),
        ("J m-2", "hour", "W m-2", 3.6e5, 100.0),
        ("m", "day", "mm d-1", 0.004, 4.0),
        ("m", "hour", "mm d-1", 0.001, 24.0),
        ("kg m-2", "day", "mm d-1", 4.0, 4.0),
    ],
)
def test_sums_over_an_hour_or_a_day(units: str, per: str, wanted: str, value: float, expected: float, tmp_path: Path) -> None:
    save(tmp_path, value * np.linspace(0.5, 1, 72).reshape(6, 12), units)
    assert one(tmp_path, "y", variable="x", per=per, units=wanted)[-1] == pytest.approx(expected, rel=1e-6)


def test_sums_over_the_months_of_a_file(tmp_path: Path) -> None:
    """62 mm in January and in February are 2 and 62/28 mm a day."""
    save(tmp_path, np.full((12, 6, 12), 0.062), "m")
    found = one(tmp_path, "tp", "dynamic", variable="x", per="step", units="mm d-1")
    assert found[:2, 0] == pytest.approx([2.0, 62 / 28], rel=1e-6)


def test_a_sum_without_its_time_names_the_key(tmp_path: Path) -> None:
    save(tmp_path, np.full((6, 12), 1e6), "J m-2")
    with pytest.raises(InputError, match="`per: hour`, `day` or `step` if the values are sums"):
        one(tmp_path, "sw", variable="x", units="W m-2")
    with pytest.raises(InputError, match=r"`per: day` with unit `W m-2`; allowed: sums such as J m-2"):
        save(tmp_path, np.full((6, 12), 1e2), "W m-2")
        one(tmp_path, "sw", variable="x", per="day")


# --- inversions ---


def inversion(folder: Path, **said: object) -> float:
    source = GriddedInversions(path="x.nc", product="C", format="gridded", per="area", sign="to_atmosphere", variable="x", **said)  # type: ignore[arg-type]
    return float(read_inversions([source], folder, GRID, WHOLE, np.full(GRID.shape, 0.5), MONTHS).notes.mean_annual_global[0])


def test_a_global_sum_that_no_inversion_has_is_an_error(tmp_path: Path) -> None:
    """-0.1 gC m-2 d-1 everywhere is -0.1 x 510.07e12 m2 x 365 days = -18.6 PgC/yr."""
    save(tmp_path, np.full((12, 6, 12), -0.1), "gC m-2 d-1")
    with pytest.raises(
        InputError, match=r"C: global sum of 2001-2001 -18.6\d PgC/yr, outside the plausible -6..\+2; .*`implausible: accept`"
    ):
        inversion(tmp_path)
    with doubts() as found:
        assert inversion(tmp_path, implausible="accept") == pytest.approx(-18.62, abs=0.01)
    assert "taken as it is" in found[0]


@pytest.mark.parametrize(
    ("value", "says"),
    [(-999.0, "the value -999 stands in 1 cell"), (80.0, "80 gC m-2 d-1 in 1 cell"), (-500.0, "which no net flux can be")],
)
def test_implausible_fields_of_an_inversion(value: float, says: str, tmp_path: Path) -> None:
    field = np.full((12, 6, 12), -0.01) + WAVE / 1e4
    save(tmp_path, with_value(value, field), "gC m-2 d-1")
    with pytest.raises(InputError, match=says):
        inversion(tmp_path)
    expected = 365e-15 * (with_value(0.0, field)[0] * GRID.cell_area).sum()
    assert inversion(tmp_path, fill_value=value, missing="zero") == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("value", "says"), [(-999.0, "the value -999 stands in 1 row"), (150.0, "12.7.* PgC in a region's month")])
def test_implausible_rows_of_a_table(value: float, says: str, tmp_path: Path) -> None:
    rows = pd.DataFrame(
        [("A", r, m, -0.5 - i / 50) for r in WHOLE.names for i, m in enumerate(MONTHS)], columns=["product", "region", "time", "value"]
    )
    rows = rows.assign(unit="PgC yr-1")
    rows.loc[3 if value > 0 else 5, "value"] = value
    rows.loc[0, "value"] = 150.0 if value > 0 else rows.value[0]
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=says):
        read_inversions([TableInversions(path="t.csv", format="table")], tmp_path, GRID, WHOLE, np.full(GRID.shape, 0.5), MONTHS)


def test_a_level_of_size_one_is_left_out(tmp_path: Path) -> None:
    values = np.full((12, 1, 6, 12), -0.01)
    data = xr.DataArray(values, {"time": MONTHS, **PLACE}, ("time", "level", "lat", "lon"), name="x", attrs={"units": "gC m-2 d-1"})
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    assert inversion(tmp_path) == pytest.approx(-1.862, abs=0.001)


@pytest.mark.parametrize("kind", ["numbers", "texts"])
@pytest.mark.parametrize("scale", ["0.1", [1.0, 2.0], 0.0])
def test_a_scale_factor_that_is_no_number_is_refused_whatever_the_values_are(kind: str, scale: Any) -> None:
    values = xr.DataArray(np.ones(3) if kind == "numbers" else np.array(["a", "b", "c"], dtype=object), attrs={"scale_factor": scale})
    with pytest.raises(InputError, match="scale_factor"):
        refuse_text_for_numbers(values, "x", Path("x.nc"))


def test_bounds_that_are_no_name_are_refused(tmp_path: Path) -> None:
    xr.Dataset({"x": ("lat", [1.0, 2.0])}, {"lat": [0.0, 1.0]}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "x.nc", "r+") as file:
        file["lat"].attrs["bounds"] = np.array([1, 2])
    with pytest.raises(InputError, match=r"attribute bounds .* the name of a variable"), open_gridded(tmp_path / "x.nc"):
        pass


def test_dates_as_text_with_a_scale_factor_of_text_are_refused() -> None:
    time = xr.DataArray(np.array(["2001-01-01", "2001-02-01"]), dims="time", name="time", attrs={"scale_factor": "2"})
    with pytest.raises(InputError, match="scale_factor"):
        time_steps(time, "x.nc")

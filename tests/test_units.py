"""Every unit against a computation by hand, and the calendar's closure."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.units import (
    FLUX_UNITS,
    INTEGRAL_UNITS,
    annual_to_monthly,
    convert_units,
    days_in_month,
    days_in_year,
    flux_to_daily,
    integral_to_monthly,
    normalise_units,
    require_units,
)

FEBRUARY = pd.DatetimeIndex(["2003-02-01"])
LEAP_FEBRUARY = pd.DatetimeIndex(["2004-02-01"])
BY_HAND = {  # one unit of flux in February 2003 [gC m-2 d-1]
    "gC m-2 d-1": 1.0,
    "kgC m-2 s-1": 86_400_000.0,
    "mol m-2 s-1": 1_037_750.4,  # 12.011 g x 86400 s
    "umolCO2 m-2 s-1": 1.0377504,
    "kgCO2 m-2 s-1": 23_580_413.0968,  # 86.4e6 x 12.011 / 44.009
    "gC m-2 yr-1": 1 / 365,
    "kgC m-2 yr-1": 1000 / 365,
    "PgC m-2 yr-1": 1e15 / 365,
    "gC m-2 month-1": 1 / 28,
    "kgC m-2 month-1": 1000 / 28,
}
MASS_BY_HAND = {  # one unit of mass [PgC]
    "PgC": 1.0,
    "GtC": 1.0,
    "TgC": 0.001,
    "gC": 1e-15,
    "kgC": 1e-12,
    "PgCO2": 0.27292145,  # 12.011 / 44.009
    "GtCO2": 0.27292145,
}


@pytest.mark.parametrize("unit", FLUX_UNITS)
def test_flux_units(unit: str) -> None:
    assert flux_to_daily(np.ones(1), unit, FEBRUARY)[0] == pytest.approx(BY_HAND[unit], rel=1e-7)


@pytest.mark.parametrize("unit", INTEGRAL_UNITS)
def test_integral_units(unit: str) -> None:
    mass, per = unit.split(" ")
    share = 28 / 365 if per == "yr-1" else 1.0
    assert integral_to_monthly(np.ones(1), unit, FEBRUARY)[0] == pytest.approx(MASS_BY_HAND[mass] * share, rel=1e-7)


def test_a_rate_per_year_knows_leap_years() -> None:
    assert integral_to_monthly(np.ones(1), "PgC yr-1", LEAP_FEBRUARY)[0] == pytest.approx(29 / 366)
    assert flux_to_daily(np.ones(1), "gC m-2 yr-1", LEAP_FEBRUARY)[0] == pytest.approx(1 / 366)


@given(st.integers(1700, 2200), st.floats(-50, 50), st.sampled_from([u for u in INTEGRAL_UNITS if u.endswith("yr-1")]))
def test_months_of_a_constant_rate_sum_to_the_year(year: int, rate: float, unit: str) -> None:
    time = pd.date_range(f"{year}-01-01", periods=12, freq="MS")
    expected = rate * MASS_BY_HAND[unit.split(" ")[0]]
    assert integral_to_monthly(np.full(12, rate), unit, time).sum() == pytest.approx(expected, rel=1e-6)
    assert annual_to_monthly(np.full(12, rate), unit, time).sum() == pytest.approx(expected, rel=1e-6)


@given(st.integers(1700, 2200), st.floats(-5000, 5000))
def test_days_of_a_constant_flux_sum_to_the_year(year: int, rate: float) -> None:
    time = pd.date_range(f"{year}-01-01", periods=12, freq="MS")
    daily = flux_to_daily(np.full((12, 2), rate), "gC m-2 yr-1", time)
    np.testing.assert_allclose((daily * days_in_month(time)[:, None]).sum(axis=0), rate, rtol=1e-12, atol=1e-12)
    assert days_in_month(time).sum() == days_in_year(time)[0]


def test_a_monthly_profile_spreads_the_annual_total() -> None:
    time = pd.date_range("2004-01-01", periods=12, freq="MS")
    profile = np.arange(1, 13) / 78
    monthly = annual_to_monthly(np.full(12, 2000.0), "TgC yr-1", time, profile)
    assert monthly[[0, 11]] == pytest.approx([2 / 78, 24 / 78])
    assert monthly.sum() == pytest.approx(2.0)


@pytest.mark.parametrize("profile", [np.full(12, 0.1), np.ones(4) / 4, np.array([2.0, -1.0, *([0.0] * 10)])])
def test_a_profile_must_be_twelve_shares_of_one(profile: np.ndarray) -> None:
    with pytest.raises(InputError, match="give 12, none negative, that sum to 1"):
        annual_to_monthly(np.ones(1), "PgC yr-1", FEBRUARY, profile)


@pytest.mark.parametrize("profile", [None, np.ones(12) / 12])
def test_an_annual_total_has_a_unit_per_year(profile: np.ndarray | None) -> None:
    with pytest.raises(InputError, match="unit `PgC month-1`"):
        annual_to_monthly(np.ones(1), "PgC month-1", FEBRUARY, profile)


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("gC m**-2 day-1", "gC m-2 d-1"),
        ("gC/m^2/day", "gC m-2 d-1"),
        ("g C m-2 d-1", "gC m-2 d-1"),
        ("PgC/m2/yr", "PgC m-2 yr-1"),
        ("kg C m-2 month-1", "kgC m-2 month-1"),
        ("µmolCO2 m-2 s-1", "umolCO2 m-2 s-1"),
        ("μmol CO2 m-2 s-1", "umolCO2 m-2 s-1"),
        ("Pg C / year", "PgC yr-1"),
        ("GtC yr-1", "GtC yr-1"),
        ("m (jsbach/ECHAM bucket)", "m"),
        ("g/kg", "g kg-1"),
        ("m/s", "m s-1"),
        ("degrees_Celsius", "degC"),
        ("Kelvin", "K"),
        ("percent", "%"),
        ("-", "1"),
        ("(0 - 1)", "1"),
        ("[0..1]", "1"),
        ("fraction (0-1)", "1"),
        ("(0 - 100)", "%"),
        ("% (0 to 100)", "%"),
        ("mol/(m2 s)", "mol m-2 s-1"),
        ("kg (m2 s)-1", "kg m-2 s-1"),
        ("W·m⁻²", "W m-2"),
        ("m**3 m**-3", "m3 m-3"),
        ("[K]", "K"),
        ("deg C", "degC"),
        ("1e-3 kg", "0.001 kg"),
        ("10^-3 m", "0.001 m"),
        ("0.1mm", "0.1 mm"),
        ("mm/hr", "mm h-1"),
    ],
)
def test_spellings(written: str, ours: str) -> None:
    assert normalise_units(written) == ours
    assert normalise_units(ours) == ours


@pytest.mark.parametrize(
    "written", ["m (0-7 cm)", "degC (x 10)", "degC*10", "fraction (0-100)", "mm (x 0.1)", "(0 - 255)", "tenths of degC"]
)
def test_what_is_not_understood_stays_and_is_refused(written: str) -> None:
    assert normalise_units(written) == written
    with pytest.raises(InputError, match="allowed here"):
        convert_units(np.ones(1), written, "degC", "x")


@pytest.mark.parametrize(
    ("value", "found", "wanted", "expected"),
    [(25.0, "0.1 degC", "K", 275.65), (3.0, "0.1 mm", "m", 3e-4), (7.0, "1e-3", "1", 0.007), (50.0, "(0 - 100)", "(0 - 1)", 0.5)],
)
def test_a_factor_in_a_unit_is_applied(value: float, found: str, wanted: str, expected: float) -> None:
    assert convert_units(np.array([value]), found, wanted, "x")[0] == pytest.approx(expected, abs=1e-12)


def test_a_factor_in_the_unit_of_a_flux_is_applied() -> None:
    micro = flux_to_daily(np.ones(1), "1e-6 mol m-2 s-1", FEBRUARY)[0]
    assert micro == pytest.approx(flux_to_daily(np.ones(1), "umolCO2 m-2 s-1", FEBRUARY)[0])
    assert integral_to_monthly(np.ones(1), "1e-3 PgC month-1", FEBRUARY)[0] == pytest.approx(1e-3)
    assert annual_to_monthly(np.ones(1), "10 TgC yr-1", FEBRUARY)[0] == pytest.approx(0.01 * 28 / 365)


def test_units_that_cannot_be_used_are_named() -> None:
    with pytest.raises(InputError, match=r"fire.nc: `C`: unit `kg m-2 s-1`; allowed: gC m-2 d-1, .* state the right one as `units`"):
        flux_to_daily(np.ones(1), "kg m-2 s-1", FEBRUARY, "fire.nc: `C`")
    with pytest.raises(InputError, match="no unit; allowed: PgC yr-1"):
        require_units(None, INTEGRAL_UNITS, "table.csv")


@pytest.mark.parametrize(
    ("value", "found", "wanted", "expected"),
    [
        (273.15, "K", "degC", 0.0),
        (-10.0, "C", "K", 263.15),
        (35.0, "%", "1", 0.35),
        (1013.25, "hPa", "Pa", 101_325.0),
        (1.2, "kPa", "hPa", 12.0),
        (0.2, "m", "mm", 200.0),
        (8.0, "g/kg", "kg kg-1", 0.008),
        (8.64, "MJ m-2 d-1", "W m-2", 100.0),
        (2.4, "kWh m-2 d-1", "W m-2", 100.0),
        (1e-5, "kg m-2 s-1", "mm d-1", 0.864),
        (7.0, "umol m-2 s-1", "umol m-2 s-1", 7.0),
    ],
)
def test_predictor_units(value: float, found: str, wanted: str, expected: float) -> None:
    assert convert_units(np.array([value]), found, wanted, "x")[0] == pytest.approx(expected, abs=1e-10)
    assert convert_units(np.array([expected]), wanted, found, "x")[0] == pytest.approx(value, abs=1e-10)


def test_predictor_units_of_another_quantity_are_refused() -> None:
    with pytest.raises(InputError, match=r"era.nc: `t`: the file has unit `K`, the study says `1`; allowed here: `K`, `degC`"):
        convert_units(np.ones(1), "K", "1", "era.nc: `t`")
    with pytest.raises(InputError, match="allowed here: `class`"):
        convert_units(np.ones(1), "class", "1", "x")

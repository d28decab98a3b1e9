"""Unit conversions. The only place where molar masses and calendar factors stand.

Inside the program NEE is gC m-2 d-1 and a regional integral is PgC per month,
both positive to the atmosphere.
"""

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.unit_spelling import normalise_units, split_factor

CARBON_GRAMS_PER_MOL = 12.011
CO2_GRAMS_PER_MOL = 44.009
SECONDS_PER_DAY = 86_400.0
SECONDS_PER_HOUR = 3_600.0
DAYS_PER_MEAN_YEAR = 365.2425
PETAGRAM = 1e15  # grams
PETAGRAMS_PER_PPM = 2.124  # PgC of the whole atmosphere for 1 ppm of CO2 at the surface (Ballantyne et al. 2012)

_FLUX_TO_GC_M2_D: dict[str, float] = {
    "gC m-2 d-1": 1.0,
    "kgC m-2 s-1": 1e3 * SECONDS_PER_DAY,
    "mol m-2 s-1": CARBON_GRAMS_PER_MOL * SECONDS_PER_DAY,
    "umolCO2 m-2 s-1": 1e-6 * CARBON_GRAMS_PER_MOL * SECONDS_PER_DAY,
    "kgCO2 m-2 s-1": 1e3 * SECONDS_PER_DAY * CARBON_GRAMS_PER_MOL / CO2_GRAMS_PER_MOL,
}
_YEARLY_FLUX_TO_GC_M2: dict[str, float] = {
    "gC m-2 yr-1": 1.0,
    "kgC m-2 yr-1": 1e3,
    "PgC m-2 yr-1": PETAGRAM,
}
_MONTHLY_FLUX_TO_GC_M2: dict[str, float] = {"gC m-2 month-1": 1.0, "kgC m-2 month-1": 1e3}
_MASS_TO_PGC: dict[str, float] = {
    "PgC": 1.0,
    "GtC": 1.0,
    "TgC": 1e-3,
    "gC": 1e-15,
    "kgC": 1e-12,
    "PgCO2": CARBON_GRAMS_PER_MOL / CO2_GRAMS_PER_MOL,
    "GtCO2": CARBON_GRAMS_PER_MOL / CO2_GRAMS_PER_MOL,
}
# Units of predictors: quantity, factor and offset to the first unit of each quantity.
_PREDICTOR_UNITS: dict[str, tuple[str, float, float]] = {
    "K": ("temperature", 1.0, 0.0),
    "degC": ("temperature", 1.0, 273.15),
    "1": ("fraction", 1.0, 0.0),
    "%": ("fraction", 0.01, 0.0),
    "m3 m-3": ("fraction", 1.0, 0.0),
    "m2 m-2": ("fraction", 1.0, 0.0),
    "kg kg-1": ("mixing ratio", 1.0, 0.0),
    "g kg-1": ("mixing ratio", 1e-3, 0.0),
    "Pa": ("pressure", 1.0, 0.0),
    "hPa": ("pressure", 100.0, 0.0),
    "kPa": ("pressure", 1000.0, 0.0),
    "m": ("length", 1.0, 0.0),
    "mm": ("length", 1e-3, 0.0),
    "cm": ("length", 1e-2, 0.0),
    "km": ("length", 1e3, 0.0),
    "m s-1": ("speed", 1.0, 0.0),
    "km h-1": ("speed", 1 / 3.6, 0.0),
    "W m-2": ("irradiance", 1.0, 0.0),
    "J m-2 d-1": ("irradiance", 1 / SECONDS_PER_DAY, 0.0),
    "J m-2 h-1": ("irradiance", 1 / SECONDS_PER_HOUR, 0.0),
    "MJ m-2 d-1": ("irradiance", 1e6 / SECONDS_PER_DAY, 0.0),
    "MJ m-2 h-1": ("irradiance", 1e6 / SECONDS_PER_HOUR, 0.0),
    "kWh m-2 d-1": ("irradiance", 3.6e6 / SECONDS_PER_DAY, 0.0),
    "kWh m-2 h-1": ("irradiance", 1e3, 0.0),
    "mm d-1": ("water flux", 1.0, 0.0),
    "mm h-1": ("water flux", 24.0, 0.0),
    "m d-1": ("water flux", 1e3, 0.0),
    "m h-1": ("water flux", 24e3, 0.0),
    "kg m-2 h-1": ("water flux", 24.0, 0.0),
    "kg m-2 d-1": ("water flux", 1.0, 0.0),
    "kg m-2 s-1": ("water flux", SECONDS_PER_DAY, 0.0),
    "mm s-1": ("water flux", SECONDS_PER_DAY, 0.0),
}
FLUX_UNITS = (*_FLUX_TO_GC_M2_D, *_YEARLY_FLUX_TO_GC_M2, *_MONTHLY_FLUX_TO_GC_M2)
INTEGRAL_UNITS = tuple(f"{mass} {per}" for mass in _MASS_TO_PGC for per in ("yr-1", "month-1"))


def convert_units(values: np.ndarray, found: str, wanted: str, what: str) -> np.ndarray:
    """Convert a predictor between units that mean the same quantity (K and degC, % and 1, hPa and Pa ...).

    Parameters
    ----------
    values : array
    found, wanted : str
        The unit that came and the unit asked for.
    what : str
        File and variable, for the message.

    Raises
    ------
    InputError
        The two are neither the same nor convertible.
    """
    (factor, have), (divisor, want) = split_factor(normalise_units(found)), split_factor(normalise_units(wanted))
    if have == want:
        return values if factor == divisor else values * (factor / divisor)
    from_have, from_want = _PREDICTOR_UNITS.get(have), _PREDICTOR_UNITS.get(want)
    if from_have is None or from_want is None or from_have[0] != from_want[0]:
        same = [name for name, (quantity, _, _) in _PREDICTOR_UNITS.items() if from_have is not None and quantity == from_have[0]]
        allowed = ", ".join(f"`{name}`" for name in same or [have])
        raise InputError(f"{what}: the file has unit `{found}`, the study says `{wanted}`; allowed here: {allowed}")
    return (values * (factor * from_have[1]) + (from_have[2] - from_want[2])) / (from_want[1] * divisor)


def quantity_of(units: str) -> str | None:
    """What a predictor's unit measures (``temperature``, ``fraction``, ...), None for a unit that is in no list.

    Examples
    --------
    >>> quantity_of("0.1 mm"), quantity_of("Celsius"), quantity_of("class")
    ('length', 'temperature', None)
    """
    known = _PREDICTOR_UNITS.get(split_factor(normalise_units(units))[1])
    return None if known is None else known[0]


def units_of_quantity(quantity: str) -> list[str]:
    """The units of a quantity; what its limits are given in comes first."""
    return [name for name, (one, _, _) in _PREDICTOR_UNITS.items() if one == quantity]


def accumulated(units: str, per: str) -> str | None:
    """The rate that a sum over an hour or a day means (``J m-2`` per ``d`` is ``J m-2 d-1``), None where the unit is no such sum.

    Parameters
    ----------
    per : {"h", "d"}
    """
    factor, ours = split_factor(normalise_units(units))
    rate = f"{ours} {per}-1"
    if rate not in _PREDICTOR_UNITS:
        return None
    return rate if factor == 1 else f"{factor!r} {rate}"


def require_units(found: str | None, allowed: tuple[str, ...] | list[str], what: str) -> str:
    """Return the unit in our spelling, a factor of the file in front of it, or raise InputError naming what is allowed.

    Parameters
    ----------
    found : str or None
        The unit that came with the data or stands in the study file.
    allowed : sequence of str
        The units that can be used here.
    what : str
        File and variable, for the message.
    """
    ours = "" if found is None else normalise_units(str(found))
    if split_factor(ours)[1] not in allowed:
        came = "no unit" if found is None else f"unit `{found}`"
        raise InputError(f"{what}: {came}; allowed: {', '.join(allowed)}; state the right one as `units`")
    return ours


def days_in_month(time: np.ndarray | pd.DatetimeIndex) -> np.ndarray:
    """True number of days of the month of each time, float64."""
    return pd.DatetimeIndex(time).days_in_month.to_numpy().astype(float)


def days_in_year(time: np.ndarray | pd.DatetimeIndex) -> np.ndarray:
    """True number of days (365 or 366) of the year of each time, float64."""
    return np.where(pd.DatetimeIndex(time).is_leap_year, 366.0, 365.0)


def flux_to_daily(values: np.ndarray, units: str, time: np.ndarray, what: str = "flux") -> np.ndarray:
    """Convert a flux density to gC m-2 d-1.

    Parameters
    ----------
    values : array, (time, ...)
    units : str
        One of `FLUX_UNITS`. A rate per year is divided by the days of that year,
        a monthly total by the true days of its month.
    time : array of datetime64, (time,)
    """
    factor, ours = split_factor(require_units(units, FLUX_UNITS, what))
    values = values if factor == 1 else values * factor
    if ours in _FLUX_TO_GC_M2_D:
        return values * _FLUX_TO_GC_M2_D[ours]
    shape = (-1,) + (1,) * (np.ndim(values) - 1)
    if ours in _YEARLY_FLUX_TO_GC_M2:
        return values * (_YEARLY_FLUX_TO_GC_M2[ours] / days_in_year(time)).reshape(shape)
    return values * (_MONTHLY_FLUX_TO_GC_M2[ours] / days_in_month(time)).reshape(shape)


def integral_to_monthly(values: np.ndarray, units: str, time: np.ndarray, what: str = "integral") -> np.ndarray:
    """Convert an integral over a region (or whole cell) to PgC per month.

    A rate per year becomes a month's integral as rate x days in month / days in year.

    Parameters
    ----------
    values : array, (time, ...)
    units : str
        One of `INTEGRAL_UNITS`.
    time : array of datetime64, (time,)
        First day of each month.
    """
    stated, ours = split_factor(require_units(units, INTEGRAL_UNITS, what))
    mass, per = ours.rsplit(" ", 1)
    factor = np.full(len(time), stated * _MASS_TO_PGC[mass])
    if per == "yr-1":
        factor = factor * days_in_month(time) / days_in_year(time)
    return values * factor.reshape((-1,) + (1,) * (np.ndim(values) - 1))


def annual_to_monthly(annual: np.ndarray, units: str, time: np.ndarray, profile: np.ndarray | None = None) -> np.ndarray:
    """Spread annual totals (one value per time, that of its year) over months [PgC month-1].

    Parameters
    ----------
    annual : array, (time,)
        The annual rate of the year each month belongs to.
    units : str
        A unit per year of `INTEGRAL_UNITS`.
    time : array of datetime64, (time,)
    profile : array of 12 shares that sum to 1, optional
        Share of each calendar month; by default the days of the month over those of the year (`uniform`).

    Raises
    ------
    InputError
        The unit is not per year, or the profile is not 12 shares that sum to 1.
    """
    factor, ours = split_factor(require_units(units, [u for u in INTEGRAL_UNITS if u.endswith("yr-1")], "annual total"))
    mass = ours.rsplit(" ", 1)[0]
    if profile is None:
        return integral_to_monthly(annual, units, time)
    shares = np.asarray(profile, dtype=float)
    if shares.shape != (12,) or not np.isclose(shares.sum(), 1.0, atol=1e-6) or (shares < 0).any():
        raise InputError(f"monthly profile: {shares.size} shares that sum to {shares.sum():.6g}; give 12, none negative, that sum to 1")
    return annual * (factor * _MASS_TO_PGC[mass]) * shares[pd.DatetimeIndex(time).month - 1]

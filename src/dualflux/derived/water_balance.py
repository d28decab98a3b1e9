"""A soil-water bucket from rain and temperature: what a dry or wet year leaves behind for the months after it.

Snow is not treated: it counts as rain on the day that it falls.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from dualflux.errors import InputError, doubt
from dualflux.units import normalise_units

LATENT_HEAT = 2.45  # MJ kg-1, of water; as in Oudin et al. (2005)
MEGAJOULE_PER_DAY = 0.0864  # of one W m-2, per m2
SETTLED = 0.1  # mm: less than this changes in a year of the spin-up
MOST_YEARS = 100  # of the spin-up
UNITS = {"pr": "mm d-1", "ta": "degC", "pet": "mm d-1"}
_ROUNDING = 1e-6  # mm d-1 below zero that regridding may leave


class Bucket(NamedTuple):
    """Storage and flows of a record.

    Attributes
    ----------
    start : array, (cell,)
        Storage before the first step [mm].
    storage : array, (step, cell)
        At the end of each step [mm].
    evaporation, runoff : array, (step, cell)
        Sums over each step [mm].
    """

    start: np.ndarray
    storage: np.ndarray
    evaporation: np.ndarray
    runoff: np.ndarray


def soil_water(
    name: str, given: Mapping[str, np.ndarray], radiation: np.ndarray, times: pd.DatetimeIndex, days: np.ndarray, capacity: float
) -> np.ndarray:
    """Water in the soil at the end of each step of a record [mm], (step, cell), after a spin-up, see `settled`.

    Parameters
    ----------
    name : str
        Of the predictor.
    given : mapping of str to array, (step, cell)
        Rain [mm d-1], temperature [degC] and, where the study has it, potential evaporation [mm d-1], in this order.
    radiation : array, (step, cell)
        At the top of the atmosphere [W m-2].
    times : DatetimeIndex, (step,)
    days : array, (step,)
        Length of each step.
    capacity : float
        [mm]

    Raises
    ------
    InputError
        A record of less than a year; negative rain or potential evaporation.
    """
    a_year_on = times[0] + pd.DateOffset(years=1)
    if times[-1] + pd.Timedelta(days=float(days[-1])) < a_year_on:
        raise InputError(
            f"predictor `{name}`: its record has {len(times)} steps; a water balance begins with a whole year: give a longer one"
        )
    sources = list(given)
    rain = require_no_negative(name, sources[0], given[sources[0]])
    if len(sources) == len(UNITS):
        potential = require_no_negative(name, sources[-1], given[sources[-1]])
    else:
        potential = potential_evaporation(radiation, given[sources[1]])
    year = slice(0, int((times < a_year_on).sum()))
    start = settled(rain[year], potential[year], days[year], capacity, name)
    return fill(rain, potential, days, start, capacity).storage


def potential_evaporation(radiation: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Potential evaporation [mm d-1] from radiation at the top of the atmosphere [W m-2] and temperature [degC].

    PE = Ra / (lambda rho) (T + 5) / 100 where T > -5, else 0; Oudin et al. (2005), J. Hydrol. 303, 290.
    """
    return radiation * (MEGAJOULE_PER_DAY / LATENT_HEAT) * np.maximum(temperature + 5, 0) / 100


def step(
    storage: np.ndarray, rain: np.ndarray, potential: np.ndarray, days: float, capacity: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of the bucket, exact for rain and potential evaporation that are constant in it.

    dW/dt = P - PE W / C below the capacity C (Thornthwaite and Mather 1955, Publ. Climatol. 8(1)); in a full bucket with P > PE
    evaporation is PE and what is left of the rain runs off.

    Parameters
    ----------
    storage : array, (cell,)
        W before the step [mm], 0 to C.
    rain, potential : array, (cell,)
        P and PE [mm d-1], not negative.
    days : float
        Length of the step.
    capacity : float
        C [mm].

    Returns
    -------
    storage, evaporation, runoff : array, (cell,)
        W after the step, and sums over it [mm].
    """
    rate = np.maximum(potential / capacity, 1e-9)  # d-1; at the least a bucket loses a millionth part in three years
    excess = np.maximum(rain - rate * capacity, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        until_full = np.log1p(rate * (capacity - storage) / excess) / rate
    filling = np.where(excess > 0, np.minimum(until_full, days), days)
    full = np.where(excess > 0, days - filling, 0.0)
    lost = -np.expm1(-rate * filling)  # of what was there, and of the rain lost / rate is left
    left = storage * (1 - lost) + rain * lost / rate
    evaporation = storage * lost + rain * (filling - lost / rate) + rate * capacity * full
    return np.clip(left, 0.0, capacity), evaporation, excess * full


def fill(rain: np.ndarray, potential: np.ndarray, days: np.ndarray, start: np.ndarray, capacity: float) -> Bucket:
    """The bucket over a record.

    Parameters
    ----------
    rain, potential : array, (step, cell)
        [mm d-1]
    days : array, (step,)
        Length of each step.
    start : array, (cell,)
        Storage before the first step [mm].
    capacity : float
        [mm]
    """
    storage, flows = start, []
    for k in range(len(days)):
        flows.append(step(storage, rain[k], potential[k], float(days[k]), capacity))
        storage = flows[-1][0]
    return Bucket(start, *(np.stack(parts) for parts in zip(*flows, strict=True)))


def settled(rain: np.ndarray, potential: np.ndarray, days: np.ndarray, capacity: float, name: str) -> np.ndarray:
    """Storage before a record [mm], (cell,): its first year repeated until that changes a cell by less than `SETTLED`.

    Parameters
    ----------
    rain, potential : array, (step of the first year, cell)
        [mm d-1]
    days : array, (step,)
    capacity : float
        [mm]
    name : str
        Of the predictor; a doubt names cells that `MOST_YEARS` do not settle.
    """
    storage = np.full(rain.shape[1], capacity / 2)
    moving = np.arange(rain.shape[1])  # each cell by itself: a tile of them settles as the whole land does
    for _ in range(MOST_YEARS):
        after = fill(rain[:, moving], potential[:, moving], days, storage[moving], capacity).storage[-1]
        change = np.abs(after - storage[moving])
        storage[moving] = after
        moving = moving[change >= SETTLED]
        if not moving.size:
            return storage
    doubt(f"predictor `{name}`: after {MOST_YEARS} times the first year {moving.size} cells still change by {SETTLED} mm a year or more")
    return storage


def require_units(name: str, sources: tuple[str, ...], units: Mapping[str, str]) -> None:
    """Raise InputError unless rain is in mm d-1, temperature in degC and potential evaporation in mm d-1.

    Parameters
    ----------
    name : str
        Of the derived predictor.
    sources : tuple of str
        Rain, temperature and, where it is given, potential evaporation.
    units : mapping
        Of each predictor of the study.
    """
    wrong = [
        f"predictor `{name}`: `{source}` is in {units[source]}; it must be in {wanted}: state `units: {wanted}` of `{source}`"
        + (" (and `per`, where the file holds sums)" if wanted == "mm d-1" else "")
        for source, wanted in zip(sources, UNITS.values(), strict=False)
        if normalise_units(units[source]) != wanted
    ]
    if wrong:
        raise InputError(wrong)


def require_no_negative(name: str, source: str, values: np.ndarray) -> np.ndarray:
    """Rain or potential evaporation [mm d-1] without the rounding errors of regridding; InputError for values below zero."""
    lowest = float(values.min(initial=0.0))
    if lowest < -_ROUNDING:
        raise InputError(
            f"predictor `{name}`: `{source}` is negative in {int((values < -_ROUNDING).sum())} values (lowest {lowest:.3g} mm d-1); rain "
            "and potential evaporation count positive: correct the sign or the values in the file"
        )
    return np.maximum(values, 0.0)

"""What a number can be: physical limits by kind of quantity, and values that programs write where they have none.

The limits are wide: they refuse what cannot be, not what is rare. Whoever knows better says `implausible: accept`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from dualflux.errors import InputError, doubt
from dualflux.units import convert_units, quantity_of, units_of_quantity

# Lowest and highest value by quantity, in the first unit of the quantity (`units.units_of_quantity`); rounding is inside.
PLAUSIBLE: dict[str, tuple[float, float]] = {
    "temperature": (
        175.0,
        360.0,
    ),  # K; coldest and hottest surface seen from space: 175 K and 354 K (Scambos et al. 2018, Zhao et al. 2021)
    "fraction": (-0.01, 1.01),  # packing and splines overshoot
    "relative humidity": (-0.01, 1.5),  # supersaturation
    "mixing ratio": (-1e-4, 1.0),  # kg kg-1
    "pressure": (-50.0, 120e3),  # Pa; also a deficit, which rounding puts below zero
    "irradiance": (-5.0, 2000.0),  # W m-2; the Sun gives 1361 above the air, clouds add to it
    "energy flux": (-2000.0, 2000.0),  # W m-2: net radiation, turbulent and ground heat
    "precipitation": (-0.1, 2e4),  # mm d-1; the wettest day had 1825, the wettest minute 38 mm (WMO)
    "precipitation sum": (-1e-4, 50.0),  # m in one step of a file
    "water flux": (-1e3, 2e4),  # mm d-1: evaporation has either sign
    "length": (-12e3, 1e8),  # m
    "speed": (-200.0, 200.0),  # m s-1
}
# Net exchange [gC m-2 d-1]: towers by the length of a value (crops reach -25 a day, half hours -80), fields of a month by kind.
PLAUSIBLE_NEE: dict[str, tuple[float, float]] = {"hourly": (-150.0, 150.0), "daily": (-60.0, 60.0), "monthly": (-30.0, 30.0)}
PLAUSIBLE_FIELD: dict[str, tuple[float, float]] = {"net flux": (-60.0, 60.0), "emission": (-1000.0, 1000.0)}  # peat fires reach 200
PLAUSIBLE_REGION_MONTH = 8.0  # PgC month-1 either way: the whole land reaches -3

_NINES = [float(f"{'9' * n}{tail}") for n in range(2, 8) for tail in ("", ".9", ".99")]
_WIDTHS = [127.0, 128.0, 255.0, 32766.0, 32767.0, 32768.0, 65535.0, 2147483647.0, 2147483648.0, 4294967295.0]
_OTHERS = [6999.0, 7777.0, 8888.0, 88888.0, 1e10, 1e12, 1e15, 1e16, 1e18]
FILLS = np.array(sorted(sign * f for f in (*_NINES, *_WIDTHS, *_OTHERS) for sign in (-1, 1)))
_PACKED_FILLS = np.array([-32768, -32767, 32767, 65535, 255, -128, -127, 127, -9999, -999, -99, 9999, 999, -2147483647, 2147483647], float)

_WORDS = {  # in names that say what a number can be
    "signed": "anomaly anomalies anom difference diff delta trend change tendency range bias std stddev sd variance deviation amplitude "
    "gradient error uncertainty seasonality log zscore standardised standardized normalised normalized pc eof",
    "net": "net sensible latent ground balance storage hfls hfss rn rnet netrad slhf sshf str rnl lwnet swnet",
    "both ways": "evaporation evapotranspiration evap et pet dew deficit balance net minus runoff sublimation condensation",
    "rain": "precip precipitation rain rainfall pr tp ppt prcp prec snowfall",
    "share": "fraction frac fapar fpar albedo percent percentage pct",
    "no share": "ndvi evi kndvi nirv index slope lai ratio number",
}


Implausible = Annotated[
    Literal["error", "accept"],
    Field(description="accept: values that no such quantity can have, or that lie outside the file's valid range, are taken as they are"),
]
FillValues = Annotated[
    float | list[float], Field(description="value, or several, that mean missing besides what the file declares, in the file's unit")
]


def fill_values(stated: float | list[float] | None) -> tuple[float, ...]:
    """The values that a study states as missing."""
    return () if stated is None else tuple(stated) if isinstance(stated, list) else (stated,)


@dataclass(frozen=True)
class Plausible:
    """What the values of one variable can be, in the unit of its file.

    Attributes
    ----------
    what : str
        File, variable and predictor or product, for messages.
    units : str
        As the file or the study says it.
    quantity : str
        For messages.
    limits : (float, float), optional
    accept : bool
        The study takes implausible values as they are; they are doubts then.
    fills : array
        Values that suggest a fill, besides `FILLS`.
    other_units : function, optional
        Takes the values to the units in which they would be plausible.
    units_key : str
        Of the study file, which says the unit of the file's values.
    """

    what: str
    units: str
    quantity: str = "value"
    limits: tuple[float, float] | None = None
    accept: bool = False
    fills: tuple[float, ...] = ()
    other_units: Callable[[np.ndarray], list[str]] | None = None
    units_key: str = "units"

    def require(self, values: np.ndarray) -> None:
        """Look at (..., cell) values, NaN where missing.

        Raises
        ------
        InputError
            A value that suggests an undeclared fill, or that no such quantity can have; it says in how many cells.
        """
        if not np.isfinite(values).any():
            return
        fill = undeclared_fill(values, self.fills)
        if fill is not None:
            others = values[np.isfinite(values) & ~_near(values, fill)]
            beside = f", far from all others ({others.min():.4g} to {others.max():.4g})" if others.size else ""
            self._say(
                f"the value {fill:.6g} stands in {_count(_near(values, fill))}{beside}: a fill value that is not declared?",
                f"say `fill_value: {fill:.10g}` to take it as missing",
            )
        elif self.limits is not None:
            self._require_limits(values, *self.limits)

    def _require_limits(self, values: np.ndarray, low: float, high: float) -> None:
        finite = np.isfinite(values)
        wrong = finite & ((np.where(finite, values, low) < low) | (np.where(finite, values, high) > high))
        if not wrong.any():
            return
        worst = values[wrong][np.abs(values[wrong] - (low + high) / 2).argmax()]
        self._say(
            f"{worst:.6g} {_shown(self.units)} in {_count(wrong)}, which no {self.quantity} can be ({low:.4g} to {high:.4g}); "
            "a wrong unit, or a fill value that is not declared?",
            f"{self._right_units(values)}say `fill_value: {worst:.10g}` if it marks missing values",
        )

    def _right_units(self, values: np.ndarray) -> str:
        fitting = [] if self.other_units is None else self.other_units(values)
        return f"say `{self.units_key}: {fitting[0]}` if that is what it is in, " if fitting else ""

    def _say(self, found: str, todo: str) -> None:
        if self.accept:
            doubt(f"{self.what}: {found.rstrip('?')}; taken as it is (`implausible: accept`)")
            return
        raise InputError(f"{self.what}: {found} Correct the file, {todo}, or `implausible: accept` to take it as it is")


def plausible_variable(
    variable: xr.DataArray, what: str, units: str, names: Iterable[str], accept: bool, units_key: str = "units"
) -> Plausible:
    """What the values of a variable can be, from its unit, names and attributes."""
    names, attributes = list(names), dict(variable.attrs)
    found = limits_of(units, names, attributes)
    quantity, limits = ("value", None) if found is None else found
    other = partial(fitting_units, units=units, names=names, attributes=attributes)
    return Plausible(what, units, quantity, limits, accept, packed_fills(variable), other, units_key)


def _shown(units: str) -> str:
    return "" if units in ("1", "") else units


def undeclared_fill(values: np.ndarray, more: Iterable[float] = ()) -> float | None:
    """The value of a known fill that stands apart from all other values, or None.

    Only the lowest and the highest value can be one: a number inside the range of all others says nothing. A negative one below values that
    are none, one that is farther than a tenth of the others' range (half, for whole numbers above them), and one of the known numbers
    beyond fractions count as fills.

    Examples
    --------
    >>> undeclared_fill(np.array([-999.0, 3.2, 14.1]))
    -999.0
    >>> undeclared_fill(np.array([3.0, 71.0, 98.0, 99.0])) is None
    True
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    known = np.concatenate([FILLS, np.asarray(list(more), dtype=float)])
    found = [float(v) for v in (finite.min(), finite.max()) if _is_known(v, known)]
    if not found:
        return None
    others = finite[~_any_near(finite, known)]
    return next((v for v in found if _stands_apart(v, others)), None)


def _stands_apart(fill: float, others: np.ndarray) -> bool:
    if not others.size:
        return fill < 0
    low, high = float(others.min()), float(others.max())
    gap, span = (low - fill if fill < low else fill - high), high - low
    if gap <= 0:
        return False
    if fill < 0 <= low or span == 0:
        return fill < 0 or gap > abs(high)
    fractional = bool((others[:100_000] % 1 != 0).any())
    nearest = (0.01 if fractional else 0.1) if fill < 0 else (0.1 if fractional else 0.5)
    return gap > nearest * span


def _is_known(value: float, known: np.ndarray) -> bool:
    return bool((np.abs(known - value) <= 1e-6 * np.abs(known)).any())


def _any_near(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each value is one of the known ones, to single precision."""
    order = np.sort(known)
    place = np.searchsorted(order, values)
    near = [np.abs(values - order[np.clip(p, 0, order.size - 1)]) <= 1e-6 * np.abs(values) for p in (place - 1, place)]
    return near[0] | near[1]


def _near(values: np.ndarray, fill: float) -> np.ndarray:
    return np.abs(values - fill) <= 1e-6 * abs(fill)


def _count(wrong: np.ndarray) -> str:
    """``1 cell``, or for several steps ``1 cell (24 values)``."""
    cells = int(wrong.reshape(-1, wrong.shape[-1]).any(axis=0).sum()) if wrong.ndim else 1
    values = int(wrong.sum())
    return f"{cells} cell{'s' if cells > 1 else ''}" + (f" ({values} values)" if values > cells else "")


def packed_fills(variable: xr.DataArray) -> tuple[float, ...]:
    """What fills of a packed variable become when the file's `scale_factor` and `add_offset` are applied to them."""
    scale, offset = variable.encoding.get("scale_factor"), variable.encoding.get("add_offset")
    if scale is None and offset is None:
        return ()
    factor, shift = float(1 if scale is None else scale), float(0 if offset is None else offset)
    return tuple(float(v) for v in _PACKED_FILLS * factor + shift)


def limits_of(units: str, names: Iterable[str], attributes: Mapping[str, object] | None = None) -> tuple[str, tuple[float, float]] | None:
    """Quantity and limits, in `units`, of a variable of these names; None where its unit or name say that anything can be.

    Parameters
    ----------
    units : str
        Of the values, as the file spells it: ``fraction``, ``%`` and ``(0 - 1)`` say more than ``1``.
    names : iterable of str
        The variable's and the study's name.
    attributes : mapping, optional
        Of the variable: `standard_name` and `long_name` are looked at.

    Examples
    --------
    >>> limits_of("degC", ["ta"])[0], limits_of("W m-2", ["sw_in"])[0], limits_of("1", ["ndvi"]) is None
    ('temperature', 'irradiance', True)
    """
    words = _words([*names, *(str((attributes or {}).get(key, "")) for key in ("standard_name", "long_name"))])
    quantity = _quantity(units, words)
    if quantity is None or _says(words, "signed"):
        return None
    of = quantity_of(units)
    base = units_of_quantity(of or "")[0]
    low, high = convert_units(np.array(PLAUSIBLE[quantity]), base, units, quantity)
    return quantity, (float(low), float(high))


def _quantity(units: str, words: frozenset[str]) -> str | None:
    found = quantity_of(units)
    if found == "fraction":
        return _share(units, words)
    if found == "irradiance":
        return "energy flux" if _says(words, "net") else "irradiance"
    if found == "water flux":
        return "precipitation" if _says(words, "rain") and not _says(words, "both ways") else "water flux"
    if found == "length" and _says(words, "rain") and not _says(words, "both ways"):
        return "precipitation sum"
    return found if found in PLAUSIBLE else None


def _share(units: str, words: frozenset[str]) -> str | None:
    """Whether a number without dimension is a share of something, as its unit or its name says."""
    if any(word.startswith(("humid", "hurs")) or word in ("rh", "r2m") for word in words):
        return "relative humidity"
    said = "%" in units or "percent" in units.lower() or re.search(r"\d\D+\d|fraction|proportion|m3|m\*\*3", units.lower()) is not None
    if _says(words, "no share") or "m2 m-2" in units:
        return None
    return "fraction" if said or _says(words, "share") else None


def _says(words: frozenset[str], *kinds: str) -> bool:
    return any(words & set(_WORDS[kind].split()) for kind in kinds)


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.split(r"[^a-z0-9]+", text.lower()) if word)


def fitting_units(values: np.ndarray, units: str, names: Iterable[str], attributes: Mapping[str, object] | None = None) -> list[str]:
    """Other units of the same quantity in which all values would be plausible."""
    quantity, names = quantity_of(units), list(names)
    finite = values[np.isfinite(values)]
    found = []
    for other in units_of_quantity(quantity) if quantity is not None and finite.size else []:
        limits = limits_of(other, names, attributes)
        if other != units and limits is not None and limits[1][0] <= finite.min() and finite.max() <= limits[1][1]:
            found.append(other)
    return found

"""What a file and a study declare of a variable's numbers: valid range, fill values, and text where a number belongs (CF 2.5, 8.1)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from dualflux.errors import InputError

# What the NetCDF library writes where nothing was written; of single bytes every value can be one (NetCDF user guide, fill values).
_DEFAULT_FILLS = {
    "i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295, "i8": -9223372036854775806, "u8": 18446744073709551614,
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
_STATED, _AS_IT_IS = "stated_fill_values", "take_as_it_is"
_NUMBERS = ("scale_factor", "add_offset", "_FillValue", "missing_value")


def refuse_text_for_numbers(variable: xr.DataArray, name: str, path: Path) -> None:
    """Raise InputError where an attribute that says how numbers are packed is text, several numbers, or zero."""
    for key in _NUMBERS:
        found = variable.encoding.get(key, variable.attrs.get(key))
        if found is None:
            continue
        if isinstance(found, str | bytes) and (variable.dtype.kind in "fiub" or key in ("scale_factor", "add_offset")):
            text = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
            raise InputError(
                f"{path}: `{name}` has the attribute {key} as text ('{text}'), not as a number, so its values cannot be unpacked; "
                f"write it as a number: `ncatted -O -a {key},{name},o,d,{text.strip()} {path.name}`"
            )
        if key == "scale_factor" and not _is_scale(np.ravel(found)):
            raise InputError(f"{path}: `{name}` has scale_factor {found}; allowed: one number, not 0; correct the file")


def _is_scale(found: np.ndarray) -> bool:
    """Whether an attribute is one finite number, not 0."""
    return found.size == 1 and found.dtype.kind in "fiu" and bool(np.isfinite(found[0]) and found[0] != 0)


def declare(variable: xr.DataArray, fill_values: Sequence[float], as_it_is: bool) -> xr.DataArray:
    """The variable with what the study says of its numbers, which `without_missing` follows.

    Parameters
    ----------
    fill_values : sequence of float
        Missing besides what the file declares, in the unit of the unpacked values.
    as_it_is : bool
        The file's valid range is no limit.
    """
    found = variable.copy(deep=False)
    found.encoding = {**variable.encoding, _STATED: tuple(fill_values), _AS_IT_IS: as_it_is}
    return found


def without_missing(values: np.ndarray, variable: xr.DataArray) -> np.ndarray:
    """Values (float64, unpacked) of a variable, NaN where its declarations say that there is none; changed in place."""
    for fill in (*_default_fill(variable), *variable.encoding.get(_STATED, ())):
        values[np.abs(values - fill) <= 1e-6 * abs(fill)] = np.nan
    if not variable.encoding.get(_AS_IT_IS, False):
        low, high = valid_range(variable)
        with np.errstate(invalid="ignore"):
            values[(values < low) | (values > high)] = np.nan
    return values


def valid_range(variable: xr.DataArray) -> tuple[float, float]:
    """Lowest and highest valid value, unpacked, from `valid_range`, `valid_min` and `valid_max`; infinite where not declared.

    They are in packed numbers where they have the type of the packed data, in unpacked ones where they are of another, wider type
    (CF 8.1, NetCDF user guide).

    Raises
    ------
    InputError
        Text, or not two numbers.
    """
    attributes, encoding = variable.attrs, variable.encoding
    both = attributes.get("valid_range")
    found = [attributes.get("valid_min"), attributes.get("valid_max")] if both is None else list(np.ravel(_number(both, variable)))
    if len(found) != 2:
        raise InputError(f"`{variable.name}`: valid_range {both}; allowed: two numbers; correct the file, or `implausible: accept`")
    sides = [np.nan if one is None else _unpacked(_number(one, variable), encoding) for one in found]
    low, high = (min(sides), max(sides)) if not np.isnan(sides).any() else sides
    rounding = 1e-6 * max(abs(s) for s in (low, high, 0.0) if not np.isnan(s))
    return (-np.inf if np.isnan(low) else low - rounding), (np.inf if np.isnan(high) else high + rounding)


def say_valid_range(variable: xr.DataArray) -> str:
    """The end of a message on missing values: what the file calls invalid; nothing where it declares no range."""
    low, high = (-np.inf, np.inf) if variable.encoding.get(_AS_IT_IS, False) else valid_range(variable)
    if not np.isfinite([low, high]).any():
        return ""
    return f"; what lies outside the file's valid range ({low:.6g} to {high:.6g}) is missing; `implausible: accept` takes it as it is"


def _number(found: object, variable: xr.DataArray) -> np.ndarray:
    numbers = np.asarray(found)
    if numbers.dtype.kind not in "iuf":
        raise InputError(
            f"`{variable.name}`: a valid range as text ({found}); allowed: numbers; correct the file, or say `implausible: accept`, "
            "and it is left out"
        )
    return numbers


def _unpacked(limit: np.ndarray, encoding: dict[str, object]) -> float:
    packed = encoding.get("dtype")
    scale, offset = encoding.get("scale_factor"), encoding.get("add_offset")
    if (scale is None and offset is None) or not isinstance(packed, np.dtype):
        return float(limit)
    if packed.kind in "iu" and limit.dtype.kind in "iu":
        value = limit.astype(packed.str.replace("i", "u")) if str(encoding.get("_Unsigned")).lower() == "true" else limit
        return float(value) * _first(scale, 1.0) + _first(offset, 0.0)
    return float(limit)


def _default_fill(variable: xr.DataArray) -> tuple[float, ...]:
    """The default of the type, unpacked, where the file declares no fill value."""
    packed, encoding = variable.encoding.get("dtype"), variable.encoding
    if not isinstance(packed, np.dtype) or "_FillValue" in encoding or "missing_value" in encoding:
        return ()
    fill = _DEFAULT_FILLS.get(f"{packed.kind}{packed.itemsize}")
    if fill is None:
        return ()
    return (fill * _first(encoding.get("scale_factor"), 1.0) + _first(encoding.get("add_offset"), 0.0),)


def _first(found: object, usual: float) -> float:
    return usual if found is None else float(np.asarray(found).ravel()[0])

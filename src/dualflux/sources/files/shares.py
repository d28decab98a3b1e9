"""Fields that are shares of a cell: land fraction, fractions of regions, in 1 or percent."""

import numpy as np
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.plausible import PLAUSIBLE, Plausible, packed_fills
from dualflux.unit_spelling import unstated
from dualflux.units import convert_units, normalise_units, quantity_of

_AS_IF_NOT_PERCENT = 0.0101  # a largest share of one percent: the values are no percent


def share_units(variable: xr.DataArray, stated: str | None, what: str) -> str:
    """The unit of a share: as the study says it, as the file does, or 1.

    Raises
    ------
    InputError
        It is none of a share.
    """
    attribute = variable.attrs.get("units")
    units = stated or ("1" if unstated(attribute) else str(attribute))
    if quantity_of(units) != "fraction":
        said = f"the study says unit `{stated}`" if stated else f"the file has unit `{attribute}`"
        raise InputError(
            f"{what}: {said}; allowed: a fraction (`1`, `%`, `(0 - 1)`); state what its values are in as `units: 1` or `units: '%'`"
        )
    return normalise_units(units)


def plausible_share(variable: xr.DataArray, what: str, units: str, accept: bool) -> Plausible:
    """What a share can be: 0 to 1, in the file's unit."""
    low, high = convert_units(np.array(PLAUSIBLE["fraction"]), "1", units, what)

    def others(values: np.ndarray) -> list[str]:
        return ["'%'"] if units == "1" and np.nanmin(values) >= 0 and 2 < np.nanmax(values) <= 101 else []

    return Plausible(what, units, "fraction", (float(low), float(high)), accept, packed_fills(variable), others)


def require_percent(values: np.ndarray, units: str, what: str) -> None:
    """Raise InputError where shares [1] that came in percent are all so small that they were none.

    >>> require_percent(np.array([0.0, 0.35]), "%", "land.nc")
    """
    if units == "%" and 0 < values.max() <= _AS_IF_NOT_PERCENT:
        raise InputError(
            f"{what}: the largest value is {100 * values.max():.3g} %, so the values are no percent but fractions of 1; say `units: 1`, or "
            "correct the file's attribute"
        )

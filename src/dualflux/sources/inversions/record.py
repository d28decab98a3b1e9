"""One product's months, and what every reader of inversions shares."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.files.regional_table import say_months
from dualflux.sources.inversions.contents import NO_LAND_FLUX, Contents

UNIT = "PgC month-1"


@dataclass(frozen=True, eq=False)
class Record:
    """One product.

    Attributes
    ----------
    product, source : str
        Its name, and the file it is from.
    months : array, (study month, parts + global)
        PgC month-1, positive to the atmosphere; NaN where there is none.
    variable : str
        What was read.
    contents : Contents
        Of `months`.
    fire : array of the same shape, optional
        The product's own imposed fire.
    """

    product: str
    source: str
    months: np.ndarray
    variable: str
    contents: Contents
    fire: np.ndarray | None = None

    def check(self, times: pd.DatetimeIndex) -> None:
        """Raise InputError unless the record begins once and ends once, for all regions alike."""
        valid = np.isfinite(self.months)
        present = np.flatnonzero(valid.any(axis=1))
        inside = slice(present[0], present[-1] + 1)
        gaps = times[inside][~valid[inside].all(axis=1)]
        if len(gaps):
            raise InputError(
                f"{self.source}: {self.product} has gaps inside its record: {say_months(gaps)}; fill them or leave it out with `products`"
            )


def choose(found: list[str], wanted: list[str] | None, path: Path | str) -> list[str]:
    """The products to keep, or InputError where one wanted is not there."""
    absent = [p for p in wanted or [] if p not in found]
    if absent:
        raise InputError(f"{path}: no product {', '.join(absent)}; it has {', '.join(found)}; correct `products`")
    return found if wanted is None else [p for p in found if p in wanted]


def require_land_flux(variable: str, path: Path | str) -> None:
    """Raise InputError for a variable that is known to be something else."""
    if variable in NO_LAND_FLUX:
        raise InputError(f"{path}: `{variable}` is {NO_LAND_FLUX[variable]}, no land flux of the inversion; correct `variable`")


def say_files(paths: list[Path]) -> str:
    """``a.nc``, or ``12 files, a.nc to l.nc``."""
    return paths[0].name if len(paths) == 1 else f"{len(paths)} files, {paths[0].name} to {paths[-1].name}"

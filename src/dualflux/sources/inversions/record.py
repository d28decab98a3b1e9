"""One product's months, and what every reader of inversions shares."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.errors import InputError, doubt
from dualflux.sources.files.plausible import PLAUSIBLE_NBE, PLAUSIBLE_REGION_MONTH
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
    accept : bool
        The study takes implausible sums as they are.
    family : str, optional
        Its system, where the study names several of its releases.
    """

    product: str
    source: str
    months: np.ndarray
    variable: str
    contents: Contents
    fire: np.ndarray | None = None
    accept: bool = False
    family: str | None = None

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

    def require_plausible(self, times: pd.DatetimeIndex) -> None:
        """Raise InputError where a region's month, or the global sum of the complete years, is none that an inversion can have."""
        found = [*self._wrong_months(times), *self._wrong_years(times)]
        if found and not self.accept:
            raise InputError(
                f"{self.source}: {self.product}: {'; '.join(found)}; check unit, sign and, of a gridded file, `per`; say "
                "`implausible: accept` for this source to take it as it is"
            )
        for problem in found:
            doubt(f"{self.source}: {self.product}: {problem}; taken as it is (`implausible: accept`)")

    def _wrong_months(self, times: pd.DatetimeIndex) -> list[str]:
        wrong = np.abs(np.nan_to_num(self.months)) > PLAUSIBLE_REGION_MONTH
        if not wrong.any():
            return []
        worst = float(self.months[wrong][np.abs(self.months[wrong]).argmax()])
        when = times[wrong.any(axis=1)]
        return [f"{worst:.4g} PgC in a region's month ({say_months(when)}), which no region exchanges (up to {PLAUSIBLE_REGION_MONTH:g})"]

    def _wrong_years(self, times: pd.DatetimeIndex) -> list[str]:
        months = pd.Series(self.months[:, -1], times)
        annual = months.groupby(times.year).sum(min_count=12).dropna()
        low, high = PLAUSIBLE_NBE
        if annual.empty or low <= annual.mean() <= high:
            return []
        years = f"{annual.index.min()}-{annual.index.max()}"
        return [f"global sum of {years} {annual.mean():.4g} PgC/yr, outside the plausible {low:+g}..{high:+g}"]


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

"""Inversions against the Global Carbon Budget, like with like.

Inversions see all carbon that land and atmosphere exchange; the budget's land sink is net of neither land-use emissions nor
the carbon that rivers carry from land to sea:

    NBE = -(land sink - land-use emissions) - river uptake
"""

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.inversions import Inversions

# Land uptake that rivers carry to the sea [PgC yr-1], Friedlingstein et al. 2023: north of 20N, tropics, south of 20S.
RIVER_UPTAKE = {"north": 0.35, "tropics": 0.21, "south": 0.09}


def expected_exchange(budget: pd.DataFrame, river: float = sum(RIVER_UPTAKE.values())) -> pd.Series:
    """Global NBE [PgC yr-1], positive to the atmosphere, that a budget implies.

    Parameters
    ----------
    budget : DataFrame
        Of `read_carbon_budget`: index year, columns land_sink and land_use [PgC yr-1].
    river : float
        Land uptake carried to the sea [PgC yr-1].
    """
    return (-(budget["land_sink"] - budget["land_use"]) - river).rename("nbe")


def budget_line(inversions: Inversions, budget: pd.DataFrame, river: float = sum(RIVER_UPTAKE.values())) -> pd.DataFrame:
    """Each product's global annual mean beside what the budget implies for the same years.

    Returns
    -------
    DataFrame
        product (the products, then `mean of products` over all), first, last (complete years in common), inversion, expected,
        difference [PgC yr-1].

    Raises
    ------
    InputError
        No complete year in common.
    """
    expected = expected_exchange(budget, river)
    flux = inversions.integral.sel(region="global").transpose("time", "product")
    monthly = pd.DataFrame(flux.to_numpy(), pd.DatetimeIndex(flux["time"].to_numpy()), flux["product"].to_numpy())
    years = pd.DatetimeIndex(monthly.index).year
    annual = monthly.groupby(years).sum(min_count=12)
    common = annual.index.intersection(expected.index)
    annual = annual.loc[common]
    if not np.isfinite(annual.to_numpy()).any():
        raise InputError(
            f"carbon budget: its years {expected.index.min()} to {expected.index.max()} hold no complete year of the inversions "
            f"({years.min()} to {years.max()}); give the table of a release that covers them"
        )
    rows = [_row(str(name), series.dropna(), expected) for name, series in annual.items() if series.notna().any()]
    whole = annual.dropna(axis="index")
    if len(rows) > 1 and len(whole):
        rows.append(_row("mean of products", whole.T.mean(), expected))
    return pd.DataFrame(rows)


def _row(name: str, annual: pd.Series, expected: pd.Series) -> dict[str, object]:
    implied = float(expected[annual.index].mean())
    found = float(annual.mean())
    first, last = int(annual.index.min()), int(annual.index.max())
    return {"product": name, "first": first, "last": last, "inversion": found, "expected": implied, "difference": found - implied}

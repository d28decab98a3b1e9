"""Scores of years that were left out of a fit: is a prediction better than the mean of the other years, and are its intervals honest?"""

import numpy as np
import pandas as pd
from scipy import stats

from dualflux.errors import InputError

COLUMNS = ("year", "region", "product", "predicted", "sd", "observed", "climatology", "nino")
LEVEL = 0.9  # of the interval of a correlation
LAG_MONTHS = (
    4  # the land answers the ocean months later: the mean of the year that ends in August (Betts et al. 2016, Nat. Clim. Change 6, 806)
)
_LEAST = 4  # years for an interval of a correlation


def index_of_year(monthly: pd.Series) -> pd.Series:
    """Mean of an index over the twelve months that end `LAG_MONTHS` before the year does, indexed by year; years with a gap are left out.

    Parameters
    ----------
    monthly : Series
        Indexed by the first day of each month.
    """
    time = pd.DatetimeIndex(monthly.index)
    months = time.year * 12 + time.month - 1 + LAG_MONTHS
    grouped = pd.Series(monthly.to_numpy(dtype=float), months // 12).dropna().groupby(level=0)
    found: pd.Series = grouped.mean()[grouped.size() == 12]
    return found


def regression_without(observed: pd.Series, index: pd.Series | None) -> pd.Series:
    """Each year predicted by a least-squares line on the index that was fitted to the other years; NaN where there is no index.

    Parameters
    ----------
    observed, index : Series
        Indexed by year.
    """
    found = pd.Series(np.nan, observed.index)
    if index is None:
        return found
    if len(absent := observed.index.difference(index.index)):
        raise InputError(
            f"holdout.index: no whole index of {', '.join(map(str, absent))}; the series must begin in the year before the first"
        )
    for year in observed.index:
        others = observed.drop(year)
        slope, centre = np.polyfit(index[others.index].to_numpy(), others.to_numpy(), 1)
        found[year] = centre + slope * index[year]
    return found


def year_scores(rows: pd.DataFrame) -> dict[str, float]:
    """Scores of one product and region over its left-out years.

    Parameters
    ----------
    rows : DataFrame
        Columns of `COLUMNS`, one row per year.

    Returns
    -------
    dict
        rmse [PgC yr-1], rmse_over_climatology, rmse_over_nino, r with r_lower and r_upper (Fisher's 90 % interval), slope (of the observed
        on the predicted), error_over_sd (root mean square of error / sd: 1 where intervals are honest). NaN where undefined.
    """
    error = rows.predicted - rows.observed
    rmse = _rms(error)
    predicted, observed = (rows[name].to_numpy(dtype=float) - rows[name].mean() for name in ("predicted", "observed"))
    square, both = float(predicted @ predicted), float(predicted @ observed)
    r = both / np.sqrt(square * float(observed @ observed)) if len(rows) > 2 and square > 0 else np.nan
    half = stats.norm.ppf((1 + LEVEL) / 2) / np.sqrt(len(rows) - 3) if len(rows) >= _LEAST else np.nan
    lower, upper = np.tanh(np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)) + half * np.array([-1.0, 1.0]))
    return {
        "rmse": rmse, "rmse_over_climatology": rmse / _rms(rows.climatology - rows.observed),
        "rmse_over_nino": rmse / _rms(rows.nino - rows.observed), "r": r, "r_lower": float(lower), "r_upper": float(upper),
        "slope": both / square if square > 0 else np.nan, "error_over_sd": _rms(error / rows.sd),
    }  # fmt: skip


def year_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`year_scores` of every product and region as rows of `summary.csv`: metrics ``left_out_years_...``."""
    rows = [
        {
            "product": product,
            "region": region,
            "metric": f"left_out_years_{name}",
            "value": value,
            "unit": "PgC yr-1" if name == "rmse" else "1",
        }
        for (product, region), each in table.groupby(["product", "region"], sort=False)
        for name, value in year_scores(each).items()
    ]
    return pd.DataFrame(rows)


def _rms(values: pd.Series) -> float:
    return float(np.sqrt((values.to_numpy(dtype=float) ** 2).mean()))

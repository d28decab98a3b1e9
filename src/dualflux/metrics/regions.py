"""Regions and the globe: means, seasonal cycles, years and trends of each product against references."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.metrics.pairs import paired_std

MINIMUM_YEARS = 3  # for a correlation, a standard deviation ratio or a trend
_COMPARED = ("bias", "rmse_annual", "annual_r", "annual_r_detrended", "annual_sd_ratio", "cycle_rmse", "cycle_rmse_centred", "cycle_r")
_REQUIRED = ["product", "member", "region", "time", "value"]
_UNITS = {
    "mean_annual": "PgC yr-1",
    "mean_annual_sd": "PgC yr-1",
    "trend": "PgC yr-2",
    "annual_sd_detrended": "PgC yr-1",
    "years": "1",
    "years_incomplete": "1",
    "bias": "PgC yr-1",
    "rmse_annual": "PgC yr-1",
    "cycle_rmse": "PgC month-1",
    "cycle_rmse_centred": "PgC month-1",
    "cycle_r": "1",
    "annual_r": "1",
    "annual_r_detrended": "1",
    "annual_sd_ratio": "1",
}


def complete_annual(monthly: pd.Series) -> pd.Series:
    """Annual sums of the complete years: those with all 12 months; the others are dropped.

    Parameters
    ----------
    monthly : Series
        [PgC month-1], indexed by the first day of each month.

    Returns
    -------
    Series
        [PgC yr-1], indexed by year.
    """
    by_year = monthly.dropna().groupby(pd.DatetimeIndex(monthly.dropna().index).year)
    return by_year.sum()[by_year.size() == 12]


def mean_cycle(monthly: pd.Series, years: Sequence[int] | pd.Index | None = None) -> pd.Series:
    """Mean of each calendar month over complete years (or over the given ones) [PgC month-1], indexed 1..12; the mean stays in."""
    years = complete_annual(monthly).index if years is None else years
    time = pd.DatetimeIndex(monthly.index)
    kept = monthly[time.year.isin(years)]
    return kept.groupby(pd.DatetimeIndex(kept.index).month).mean()


def trend(annual: pd.Series) -> float:
    """Least-squares slope of annual values over years [PgC yr-2]; NaN below three years."""
    if len(annual) < MINIMUM_YEARS:
        return float("nan")
    return float(np.polyfit(annual.index.to_numpy(dtype=float) - annual.index[0], annual.to_numpy(), 1)[0])


def detrended(annual: pd.Series) -> np.ndarray:
    """Annual values less their least-squares line."""
    year = annual.index.to_numpy(dtype=float) - float(np.mean(annual.index))
    values = annual.to_numpy(dtype=float)
    spread = float(year @ year)
    return values - values.mean() - (year * (year @ values) / spread if spread > 0 else 0.0)


def variability(annual: pd.Series) -> float:
    """Standard deviation of annual values about their line, ``sqrt(sum of squares / (years - 2))``; NaN below three years."""
    if len(annual) < MINIMUM_YEARS:
        return float("nan")
    return float(np.sqrt((detrended(annual) ** 2).sum() / (len(annual) - 2)))


def regional_summary(regional: pd.DataFrame, reference: str | None = "target", others: Sequence[str] | None = None) -> pd.DataFrame:
    """Summarise `regional_monthly.csv` per product and region, against a reference and against other products.

    Only complete years (12 months) count, for annual values and seasonal cycles alike: the rest are dropped, and
    `years_incomplete` counts them. A comparison uses the complete years that both sides have.

    Parameters
    ----------
    regional : DataFrame
        product, member (empty = ensemble mean), region, time, value [PgC month-1].
    reference : str or None
        Product that the plain metric names refer to; None: there is none.
    others : sequence of str, optional
        Products to compare with as well, metric names ending in ``_vs_NAME``; by default all but the variants and the reference.

    Returns
    -------
    DataFrame
        product, region, metric, value, unit:

        - mean_annual [PgC yr-1]; mean_annual_sd over the members (only where there are members); trend [PgC yr-2];
          annual_sd_detrended [PgC yr-1]; years, years_incomplete;
        - against the reference: bias and rmse_annual [PgC yr-1]; cycle_rmse of the mean seasonal cycles and
          cycle_rmse_centred after removing their means [PgC month-1]; cycle_r; annual_r, and annual_r_detrended of
          what is left of both without their lines; annual_sd_ratio (product over reference). Undefined: NaN (correlation of years,
          ratio, trend and detrended values below three years).

    Raises
    ------
    InputError
        Missing columns, values, or reference; a repeated product, member, region and month.
    """
    _check(regional, reference)
    member = regional["member"].notna() & (regional["member"] != "")
    mean = _series(regional[~member])
    members = {key: _member_means(rows) for key, rows in regional[member].groupby(["product", "region"])}
    products = list(dict.fromkeys(p for p, _ in mean))
    with_members = {p for p, _ in members}
    compared = [p for p in products if p not in with_members and p != reference] if others is None else list(others)
    rows: list[tuple[str, str, str, float]] = []
    for (product, region), monthly in mean.items():
        alone = own_metrics(monthly)
        if (product, region) in members and len(members[product, region]) > 1:
            alone["mean_annual_sd"] = float(paired_std(members[product, region].to_numpy()))
        rows += [(product, region, k, v) for k, v in alone.items()]
        for against in (*([] if reference is None else [reference]), *compared):
            if against != product and (against, region) in mean:
                ending = "" if against == reference else f"_vs_{against}"
                rows += [(product, region, f"{k}{ending}", v) for k, v in comparison_metrics(monthly, mean[against, region]).items()]
    table = pd.DataFrame(rows, columns=["product", "region", "metric", "value"])
    return table.assign(unit=table["metric"].str.split("_vs_").str[0].map(_UNITS))


def annual_table(regional: pd.DataFrame) -> pd.DataFrame:
    """Annual sums of complete years, with their spread over members.

    Returns
    -------
    DataFrame
        product, region, year, value (of the ensemble mean), sd (over members, NaN without) [PgC yr-1].
    """
    whole = _complete(regional)
    annual = whole.groupby(["product", "region", "member", "year"])["value"].sum()
    return _mean_and_spread(annual, "year")


def cycle_table(regional: pd.DataFrame) -> pd.DataFrame:
    """Mean seasonal cycles over complete years, with their spread over members.

    Returns
    -------
    DataFrame
        product, region, month (1..12), value (of the ensemble mean), sd (over members, NaN without) [PgC month-1].
    """
    whole = _complete(regional)
    cycle = whole.groupby(["product", "region", "member", whole["time"].dt.month.rename("month")])["value"].mean()
    return _mean_and_spread(cycle, "month")


def _complete(regional: pd.DataFrame) -> pd.DataFrame:
    """Rows of complete years; `member` is text, empty for the ensemble mean."""
    rows = regional.assign(
        year=regional["time"].dt.year, member=regional["member"].astype(object).where(regional["member"].notna(), "").astype(str)
    )
    return rows[rows.groupby(["product", "region", "member", "year"])["value"].transform("count") == 12]


def _mean_and_spread(values: pd.Series, period: str) -> pd.DataFrame:
    table = values.reset_index()
    keys = ["product", "region", period]
    alone = table["member"] == ""
    each = table[~alone].assign(order=pd.to_numeric(table["member"][~alone])).sort_values("order", kind="stable")
    sd = each.groupby(keys)["value"].agg(lambda members: paired_std(members.to_numpy())).rename("sd")
    return table[alone].drop(columns="member").join(sd, on=keys).reset_index(drop=True)


def own_metrics(monthly: pd.Series) -> dict[str, float]:
    """mean_annual, trend, annual_sd_detrended, years and years_incomplete of one series [PgC month-1]."""
    annual = complete_annual(monthly)
    years = pd.DatetimeIndex(monthly.dropna().index).year.nunique()
    mean = float(annual.mean()) if len(annual) else float("nan")
    about = {"mean_annual": mean, "trend": trend(annual), "annual_sd_detrended": variability(annual)}
    return {**about, "years": float(len(annual)), "years_incomplete": float(years - len(annual))}


def comparison_metrics(monthly: pd.Series, reference: pd.Series) -> dict[str, float]:
    """One series against another over the complete years of both: see `regional_summary`."""
    annual, annual_reference = complete_annual(monthly), complete_annual(reference)
    years = annual.index.intersection(annual_reference.index)
    if len(years) == 0:
        return dict.fromkeys(_COMPARED, float("nan"))
    cycle, cycle_reference = (mean_cycle(s, years).to_numpy() for s in (monthly, reference))
    off = cycle - cycle_reference
    return {
        **annual_comparison(annual[years], annual_reference[years]),
        "cycle_rmse": _rms(off),
        "cycle_rmse_centred": _rms(off - off.mean()),
        "cycle_r": _correlation(cycle, cycle_reference),
    }


def annual_comparison(annual: pd.Series, reference: pd.Series) -> dict[str, float]:
    """bias, rmse_annual, annual_r, annual_r_detrended and annual_sd_ratio of annual values of the same years."""
    one, two = annual.to_numpy(), reference.to_numpy()
    enough, spread, nothing = len(one) >= MINIMUM_YEARS, float(two.std()), float("nan")
    return {
        "bias": float((one - two).mean()),
        "rmse_annual": _rms(one - two),
        "annual_r": _correlation(one, two) if enough else nothing,
        "annual_r_detrended": _correlation(detrended(annual), detrended(reference), np.abs(one).max()) if enough else nothing,
        "annual_sd_ratio": float(one.std() / spread) if enough and spread > 0 else nothing,
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _correlation(one: np.ndarray, two: np.ndarray, size: float = 0.0) -> float:
    """NaN where a side is constant to rounding (of values of at least this size), such as the annual sums of a climatology."""
    if any(side.std() <= 1e-12 * max(np.abs(side).max(), size) for side in (one, two)):
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


def _series(rows: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    return {
        (str(p), str(r)): part.set_index("time")["value"].sort_index() for (p, r), part in rows.groupby(["product", "region"], sort=False)
    }


def _member_means(rows: pd.DataFrame) -> pd.Series:
    annual = {m: complete_annual(part.set_index("time")["value"]).mean() for m, part in rows.groupby("member")}
    return pd.Series({m: annual[m] for m in sorted(annual, key=lambda member: float(str(member)))}, dtype=float)


def _check(regional: pd.DataFrame, reference: str | None) -> None:
    missing = [c for c in _REQUIRED if c not in regional]
    if missing:
        raise InputError(f"regional table: no column {', '.join(missing)}; wanted {', '.join(_REQUIRED)}")
    if reference is not None and reference not in set(regional["product"]):
        raise InputError(f"regional table: no product `{reference}` to compare with; it has {sorted(regional['product'].unique())}")
    gaps, double = int(regional["value"].isna().sum()), int(regional.duplicated(["product", "member", "region", "time"]).sum())
    if gaps or double:
        raise InputError(f"regional table: {gaps} values are missing and {double} rows repeat a product, member, region and month")

"""Regional and global integrals of variants, inversions and references as one table."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.inversions.covariance import misfit
from dualflux.constraints.inversions.ensemble_mean import ensemble_mean, to_year_month
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.grid import LandCells
from dualflux.metrics.pairs import paired_std
from dualflux.prepared import Prepared
from dualflux.variants import ordered

_UNIT = "PgC month-1"


def integral_rows(
    labels: list[tuple[str, str, int]], integrals: np.ndarray, months: pd.DatetimeIndex, regions: Sequence[str]
) -> pd.DataFrame:
    """Long table run, variant, member, region, time, value of (label, month, region) integrals [PgC month-1].

    Parameters
    ----------
    labels : list of (run, variant, member)

    Notes
    -----
    Months without a value, those outside the fitted years of an analysis, have no row.
    """
    index = pd.MultiIndex.from_tuples(labels, names=["run", "variant", "member"])
    columns = pd.MultiIndex.from_product([months, regions], names=["time", "region"])
    wide = pd.DataFrame(integrals.reshape(len(labels), -1), index, columns)
    return wide.melt(ignore_index=False, value_name="value").dropna(subset="value").reset_index()


def regional_table(members: pd.DataFrame, prepared: Prepared) -> pd.DataFrame:
    """The table `regional_monthly.csv`: variants with their members, inversions, their ensemble mean (target), references.

    Parameters
    ----------
    members : DataFrame
        See `integral_rows`; of a variant in the order of its members.
    """
    keys = ["variant", "region", "time"]
    each = members.rename(columns={"variant": "product"})[["product", "member", "region", "time", "value"]]
    grouped = members.groupby(keys, sort=False).value
    mean = (
        pd.concat([grouped.mean(), grouped.agg(lambda each: paired_std(each.to_numpy())).rename("std")], axis=1)
        .reset_index()
        .rename(columns={"variant": "product"})
    )
    tables = [mean, each]
    if prepared.target is not None:
        tables += [series_rows(prepared.target.integral), target_mean(prepared.target.integral)]
    if prepared.references is not None:
        tables.append(series_rows(prepared.references))
    table = pd.concat(tables, ignore_index=True).dropna(subset="value").assign(unit=_UNIT)
    table["member"] = table["member"].astype("Int64")
    return table[["product", "member", "region", "time", "value", "std", "unit"]]


def series_rows(integral: xr.DataArray) -> pd.DataFrame:
    """Long table product, region, time, value."""
    return integral.rename("value").to_series().reset_index()


def target_mean(integral: xr.DataArray) -> pd.DataFrame:
    """Mean over inversions (product, region, time) of whole years, and their standard deviation: product `target`."""
    integral = integral.transpose("product", "region", "time")
    values, years = to_year_month(integral)
    months = pd.DatetimeIndex([pd.Timestamp(y, m, 1) for y in years for m in range(1, 13)])
    regions = [str(r) for r in integral.region.to_numpy()]
    index = pd.MultiIndex.from_product([["target"], regions, months], names=["product", "region", "time"])
    spread = np.nanstd(values, axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
    return pd.DataFrame({"value": ensemble_mean(values).ravel(), "std": spread.ravel()}, index=index).reset_index()


def land_table(shares: pd.DataFrame, filled: pd.DataFrame, similarity: np.ndarray | None, cells: LandCells) -> pd.DataFrame:
    """The table `land.csv`: how much of each region's land is not what it seems.

    Parameters
    ----------
    shares : DataFrame
        Index region; `no_flux_share` (land whose flux is zero by rule).
    filled : DataFrame
        predictor, filled_share, dropped_share (of all land with a flux).
    similarity : array, (cell,), or None
        See `uncertainty.applicability`; None: there are no towers to be like.

    Returns
    -------
    DataFrame
        region, metric, value, unit; `outside_applicability_share` is the land unlike any tower.
    """
    area = np.vstack([cells.region_area, cells.land_area])
    outside = np.full(len(area), np.nan) if similarity is None else area @ (similarity > 1) / area.sum(axis=1)
    rows = [(str(r), "no_flux_share", float(v)) for r, v in shares.no_flux_share.items()]
    rows += [(r, "outside_applicability_share", float(v)) for r, v in zip([*cells.region_names, "global"], outside, strict=True)]
    for kind in ("filled_share", "dropped_share"):
        rows += [("global", f"{kind}_{n}", float(v)) for n, v in zip(filled.predictor, filled[kind], strict=True) if v > 0]
    return pd.DataFrame(rows, columns=["region", "metric", "value"]).assign(unit="1")


def chi_squares(regional: pd.DataFrame, constraint: RegionalConstraint, regions: list[str]) -> Iterator[dict[str, object]]:
    mean = regional[regional.member.isna()]
    months = [pd.Timestamp(y, m, 1) for y in constraint.years for m in range(1, 13)]
    for product in ordered(regional[regional.member.notna()]["product"]):
        wide = mean[mean["product"] == product].pivot(index="time", columns="region", values="value").reindex(months)[regions]
        found = wide.to_numpy().T.reshape(len(regions), -1, 12)
        whole = np.isfinite(constraint.products).all(axis=(1, 2, 3))
        own = constraint.error if constraint.drawn is None else constraint.drawn.own.error()
        scores = {
            "chi_square": {k: v.mean(axis=0) for k, v in misfit(found - constraint.products[whole], own).items()},
            "chi_square_target": misfit(found - constraint.observed, constraint.error),
        }
        for kind, parts in scores.items():
            for part, values in parts.items():
                for region, value in zip(regions, values, strict=True):
                    yield {"product": product, "region": region, "metric": f"{kind}_{part}", "value": value, "unit": "1"}

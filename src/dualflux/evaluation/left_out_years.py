"""Each year as predicted by a study that has not seen it, beside what was observed, the other years' mean and a regression on an index."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.observations import Maker, RegionalConstraint
from dualflux.metrics.left_out_years import COLUMNS, regression_without
from dualflux.metrics.pairs import paired_variance

MEMBER_COLUMNS = ("left_out", "variant", "member", "region", "year", "value")


def annual_integrals(
    labels: list[tuple[str, int]], integrals: np.ndarray, months: pd.DatetimeIndex, regions: Sequence[str]
) -> pd.DataFrame:
    """Whole years of (member, month, region) integrals [PgC month-1]: variant, member, region, year, value [PgC yr-1].

    Parameters
    ----------
    labels : list of (variant, member)
    """
    whole = [int(y) for y in months.year.unique() if (months.year == y).sum() == 12]
    annual = np.stack([integrals[:, months.year == y].sum(axis=1) for y in whole], axis=1)
    index = pd.MultiIndex.from_tuples(labels, names=["variant", "member"])
    columns = pd.MultiIndex.from_product([whole, regions], names=["year", "region"])
    wide = pd.DataFrame(annual.reshape(len(labels), -1), index, columns)
    return wide.melt(ignore_index=False, value_name="value").reset_index()


def left_out_years_table(members: pd.DataFrame, make: Maker, index: pd.Series | None) -> pd.DataFrame:
    """The table `left_out_years.csv`, [PgC yr-1] throughout.

    Parameters
    ----------
    members : DataFrame
        `MEMBER_COLUMNS`.
    make : Maker
    index : Series or None
        A value for each year, for the column `nino`.

    Returns
    -------
    DataFrame
        `COLUMNS`. `observed` is the target's year, `climatology` the mean of the other fitted years' targets, `sd` that of observed
        less predicted: members' spread of the year's anomaly, and the error that R gives an annual anomaly of the target.
    """
    full = make(None, None)
    tables = []
    for year in full.years:
        used = make(None, (int(year), int(year)))
        mine = members[members.left_out == year]
        tables.append(_of_year(mine, int(year), used))
    table = pd.concat(tables, ignore_index=True)
    observed = observed_annual(full)
    for region, rows in table.groupby("region"):
        truth = pd.Series(observed.loc[region])
        others = (truth.sum() - truth) / (len(truth) - 1)
        line = regression_without(truth, index)
        for name, series in (("observed", truth), ("climatology", others), ("nino", line)):
            table.loc[rows.index, name] = series.reindex(rows.year).to_numpy()
    return table[list(COLUMNS)]


def observed_annual(constraint: RegionalConstraint) -> pd.DataFrame:
    """The target's annual integrals [PgC yr-1], (region and global, year)."""
    annual = constraint.observed.sum(axis=2)
    return pd.DataFrame(np.vstack([annual, annual.sum(axis=0)]), [*constraint.regions, "global"], constraint.years)


def _of_year(members: pd.DataFrame, year: int, used: RegionalConstraint) -> pd.DataFrame:
    """year, region, product, predicted, sd of one left-out year."""
    own = dict(zip([*used.regions, "global"], annual_anomaly_variance(used), strict=True))
    rows = []
    for (variant, region), each in members.groupby(["variant", "region"], sort=False):
        wide = each.pivot(index="member", columns="year", values="value")
        anomaly = wide[year] - wide[list(used.years)].mean(axis=1)
        sd = np.sqrt(float(paired_variance(anomaly.to_numpy())) + own[str(region)])
        rows.append({"year": year, "region": region, "product": variant, "predicted": wide[year].mean(), "sd": sd})
    return pd.DataFrame(rows)


def annual_anomaly_variance(used: RegionalConstraint) -> np.ndarray:
    """Variance of the error of a new year's anomaly in the target, about the mean of the years used, (region + 1,) [(PgC yr-1)^2]."""
    parts = np.concatenate([used.error.marginals()[2], used.error.marginals_of_total()[2]])
    found: np.ndarray = parts.sum(axis=(1, 2)) * (1 + 1 / len(used.years))
    return found

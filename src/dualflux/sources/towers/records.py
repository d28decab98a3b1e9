"""What both tower formats become: rows and sites, checked, and brought to the study's time step."""

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.tables import MISSING, to_numbers

TimeStep = Literal["monthly", "daily"]
IGBP_CODES = ["ENF", "EBF", "DNF", "DBF", "MF", "CSH", "OSH", "WSA", "SAV", "GRA", "WET", "CRO", "URB", "CVM", "SNO", "BSV", "WAT"]
IMPOSSIBLE_FLUX = 100.0  # gC m-2 d-1: more than twice what any ecosystem does in a day; a fill value or another unit
ACCEPTED_FLUX = 500.0  # gC m-2 d-1: the bound where a study says `implausible: accept`
SITE_COLUMNS = ["site", "lat", "lon", "igbp"]
ROW_COLUMNS = ["site", "time", "flag", "nee", "quality", "random", "systematic"]


@dataclass(frozen=True)
class Records:
    """Rows of one source as its files hold them, in our units.

    Attributes
    ----------
    rows : DataFrame
        site, time, flag (why the row is not to be used, None where it is), nee [gC m-2 d-1], quality (NaN unknown), random and systematic
        (parts of the standard uncertainty of nee [gC m-2 d-1], NaN unknown), then meteorology.
    sites : DataFrame
        Index site; lat, lon, igbp, source (file name), variable, uncertainty (which kind); of FLUXNET files also release, utc_offset
        [h], citation and note.
    step : "monthly" or "daily"
    flags : DataFrame
        See `flags.consistency_flags`.
    """

    rows: pd.DataFrame
    sites: pd.DataFrame
    step: TimeStep
    flags: pd.DataFrame = field(default_factory=pd.DataFrame)


def check_sites(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """One row per site (index) with lat, lon [degrees, longitude -180..180] and igbp.

    Raises
    ------
    InputError
        A site without a name, coordinates out of range, two coordinates or classes for one site,
        a class that is no IGBP code; all at once.
    """
    problems = Problems()
    frame = pd.DataFrame({"site": table["site"].astype("string").str.strip(), "igbp": table["igbp"].astype("string").str.strip()})
    for name, low, high in (("lat", -90.0, 90.0), ("lon", -180.0, 360.0)):
        with problems.collect():
            frame[name] = to_numbers(table[name], f"{what}, column `{name}`")
            bad = frame.loc[~frame[name].between(low, high), "site"].unique()
            if len(bad):
                raise InputError(f"{what}: {name} missing or outside {low:g}..{high:g} degrees at {_names(bad)}; correct the coordinates")
    if frame["site"].isna().any():
        problems.add(f"{what}: {int(frame['site'].isna().sum())} rows without a site name; name the site or remove the rows")
    wrong = frame.loc[~frame["igbp"].isin(IGBP_CODES), ["site", "igbp"]].drop_duplicates()
    if len(wrong):
        said = _names(wrong["site"].fillna("?") + " " + wrong["igbp"].fillna("missing"))
        problems.add(f"{what}: IGBP class missing or unknown ({said}); allowed: {', '.join(IGBP_CODES)}")
    problems.raise_if_any()
    frame["lon"] = np.where(frame["lon"] > 180, frame["lon"] - 360, frame["lon"])
    unique = frame.drop_duplicates()
    twice = unique.loc[unique["site"].duplicated(), "site"].unique()
    if len(twice):
        raise InputError(f"{what}: more than one latitude, longitude or IGBP class for {_names(twice)}; give each site one")
    columns = {"lat": unique["lat"].to_numpy(), "lon": unique["lon"].to_numpy(), "igbp": unique["igbp"].tolist()}
    return pd.DataFrame(columns, index=pd.Index(unique["site"].tolist(), name="site"))


def _names(values: pd.Series | np.ndarray | list[str], most: int = 8) -> str:
    names = [str(value) for value in values]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_rows(rows: pd.DataFrame, what: str, largest: float = IMPOSSIBLE_FLUX) -> None:
    """Raise InputError for no rows at all, a negative uncertainty, a flux beyond the largest, or a site and time given twice."""
    if rows.empty:
        raise InputError(f"{what}: no rows; give files with data")
    for part in ("random", "systematic"):
        if (rows[part] < 0).any():
            raise InputError(f"{what}: {int((rows[part] < 0).sum())} negative uncertainties; give standard deviations")
    beyond = rows["nee"].abs() > largest
    if beyond.any():
        raise InputError(
            f"{what}: {int(beyond.sum())} fluxes beyond +-{largest:g} gC m-2 d-1, first {rows.loc[beyond, 'nee'].iloc[0]:g}; "
            f"correct the unit, or the fill value to {MISSING:g}"
        )
    twice = rows.duplicated(["site", "time"])
    if twice.any():
        first = rows.loc[twice].iloc[0]
        raise InputError(
            f"{what}: {int(twice.sum())} rows repeat a site and time, first {first['site']} {first['time']:%Y-%m-%d}; keep one row for each"
        )


def to_time_step(
    records: Records, period: tuple[date, date], time_step: TimeStep, quality_above: float | None, minimum_coverage: float, what: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring rows to the study's period, quality and time step.

    Rows at the study's step are kept where they have a value and their quality is above the threshold.
    Daily rows become the mean over ALL days of the month that have a value, gap-filled ones included, kept where these days are
    at least `minimum_coverage` of the true days of the month and their mean quality (unknown counted as 0) is above the threshold:
    the rule of the ONEFlux monthly files. (Averaging the good days only biases the month, since gaps are no random sample of days.)
    Random errors of days are independent, ``sqrt(mean(random^2) / days)``; systematic ones (the friction-velocity
    threshold) are common to the days of a month and are averaged. An uncertainty or meteorological
    variable known on less than `minimum_coverage` of the month's days is NaN.

    Returns
    -------
    observations : DataFrame
        site, time, nee, uncertainty, then meteorology; sorted.
    dropped : DataFrame
        site, reason, count of the file's rows.
    """
    if records.step == "monthly" and time_step == "daily":
        raise InputError(f"{what}: monthly values cannot feed a daily study; give daily files or set `time_step: monthly`")
    rows = records.rows
    lost: list[pd.DataFrame] = []
    inside = rows["time"].between(pd.Timestamp(period[0]), pd.Timestamp(period[1]))
    rows = _keep(rows, inside, "outside the period", lost)
    for reason in sorted(rows["flag"].dropna().unique()):
        rows = _keep(rows, rows["flag"] != reason, reason, lost)
    if records.step == time_step:
        rows = _keep(rows, rows["nee"].notna(), "no value", lost)
        if quality_above is not None:
            rows = _keep(rows, rows["quality"].notna(), "quality unknown", lost)
            rows = _keep(rows, rows["quality"] > quality_above, f"quality not above {quality_above:g}", lost)
        observed = rows.drop(columns=["flag", "quality", "random", "systematic"])
        observed.insert(3, "uncertainty", _joint(rows["random"], rows["systematic"]))
    else:
        observed = _months(rows, quality_above, minimum_coverage, lost)
    dropped = pd.concat(lost, ignore_index=True)
    return observed.sort_values(["site", "time"], ignore_index=True), dropped


def _keep(rows: pd.DataFrame, good: pd.Series, reason: str, lost: list[pd.DataFrame]) -> pd.DataFrame:
    count = rows.loc[~good].groupby("site", sort=True).size()
    lost.append(pd.DataFrame({"site": [str(site) for site in count.index], "reason": reason, "count": count.to_numpy(dtype=np.int64)}))
    return rows.loc[good]


def _joint(random: pd.Series, systematic: pd.Series) -> pd.Series:
    known = random.notna() | systematic.notna()
    return ((random.fillna(0.0) ** 2 + systematic.fillna(0.0) ** 2) ** 0.5).where(known)


def _months(rows: pd.DataFrame, quality_above: float | None, minimum_coverage: float, lost: list[pd.DataFrame]) -> pd.DataFrame:
    rows = rows.assign(month=rows["time"].dt.to_period("M").dt.start_time.astype("datetime64[ns]"), days=rows["time"].dt.days_in_month)
    weather = _weather(rows, [name for name in rows.columns if name not in (*ROW_COLUMNS, "month", "days")], minimum_coverage)
    rows = _keep(rows, rows["nee"].notna(), "no value", lost)
    by_month = rows.groupby(["site", "month"])
    full = by_month["nee"].transform("size") >= minimum_coverage * rows["days"]
    rows = _keep(rows, full, f"in a month with values on under {100 * minimum_coverage:g} % of its days", lost)
    if quality_above is not None:
        rows = rows.assign(quality=rows["quality"].fillna(0.0))
        good = rows.groupby(["site", "month"])["quality"].transform("mean") > quality_above
        rows = _keep(rows, good, f"in a month with mean quality not above {quality_above:g}", lost)
    return _monthly_means(rows, minimum_coverage).join(weather, on=["site", "time"])


def _weather(rows: pd.DataFrame, names: list[str], minimum_coverage: float) -> pd.DataFrame:
    grouped = rows.rename(columns={"time": "day", "month": "time"}).groupby(["site", "time"])
    enough = grouped[names].count().ge(minimum_coverage * grouped["days"].first(), axis=0)
    return grouped[names].mean().where(enough)


def _monthly_means(rows: pd.DataFrame, minimum_coverage: float) -> pd.DataFrame:
    rows = rows.assign(variance=rows["random"] ** 2)
    grouped = rows.groupby(["site", "month"])
    known = grouped[["random", "systematic"]].count()
    enough = known.ge(minimum_coverage * grouped["days"].first(), axis=0)
    random = ((grouped["variance"].mean() / known["random"].clip(lower=1)) ** 0.5).where(enough["random"])
    systematic = grouped["systematic"].mean().where(enough["systematic"])
    month = pd.DataFrame({"nee": grouped["nee"].mean(), "uncertainty": _joint(random, systematic)})
    return month.rename_axis(["site", "time"]).reset_index()

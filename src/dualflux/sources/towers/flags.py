"""Flags for inconsistent records: whole site-variables and break points, in the spirit of Jung et al. (2024, BG 21, 1827).

Flags never look at how large a flux is: real extremes stay. Each rests on a relation between variables of the same site, or on a change of
the distribution of residuals in time. Theirs rest on many more relations, learnt from all sites; these are the few that need no other site.
"""

from typing import Any

import numpy as np
import pandas as pd

FLAG_COLUMNS = ["site", "variable", "kind", "time", "statistic", "limit", "rows", "why"]

SHARE_OF_DAYS = 0.05  # of days that break a physical relation: above it the variable is flagged
WETTEST = 12_000 / 365.2425  # mm d-1: the highest long-term mean of any rain gauge
DRIEST = 1 / 365.2425
WINDOW = 730  # days on either side of a possible break point
STEP = 30  # days between possible break points
FEWEST = 180  # usable days on each side
BREAK = 0.5  # Kolmogorov-Smirnov distance of the residuals on both sides; of the 13 published files at hand none has more than 0.46


def consistency_flags(rows: pd.DataFrame, usable: pd.Series) -> pd.DataFrame:
    """Flags of one site's daily rows.

    Parameters
    ----------
    rows : DataFrame
        site, time, nee, systematic [gC m-2 d-1], meteorology, and SW_IN_POT where known.
    usable : Series of bool
        Rows with a flux of sufficient quality.

    Returns
    -------
    DataFrame
        Columns `FLAG_COLUMNS`. `kind` is `variable` or `break`; `time` is that of the break; `rows` are those that dropping
        would remove: all of a flagged variable's, those outside the longest stretch between breaks.
    """
    found = [*_site_variables(rows, usable), *_breaks(rows, usable)]
    return pd.DataFrame([{"site": rows["site"].iloc[0], **flag} for flag in found], columns=FLAG_COLUMNS)


def drop_flagged(rows: pd.DataFrame, flags: pd.DataFrame, usable: pd.Series) -> pd.DataFrame:
    """Rows with flagged meteorology missing, and with a reason in `flag` where the flux is flagged."""
    rows = rows.copy()
    for flag in flags[flags["kind"] == "variable"].to_dict("records"):
        if flag["variable"] != "nee":
            rows[flag["variable"]] = np.nan
        else:
            rows["flag"] = rows["flag"].where(rows["flag"].notna(), "flux flagged: " + flag["why"])
    breaks = flags.loc[flags["kind"] == "break", "time"]
    if len(breaks):
        outside = ~_longest(rows["time"], usable, breaks)
        rows["flag"] = rows["flag"].mask(outside & rows["flag"].isna(), "beyond a break point of the flux")
    return rows


def _site_variables(rows: pd.DataFrame, usable: pd.Series) -> list[dict[str, Any]]:
    tests: list[tuple[str, float, float, str]] = []
    nee, systematic = rows.loc[usable, "nee"], rows.loc[usable, "systematic"].dropna()
    if len(systematic) >= FEWEST:
        spread = 1.4826 * (nee - nee.median()).abs().median()
        tests.append(("nee", systematic.median(), spread, "threshold uncertainty above the spread of the flux"))
    if {"SW_IN_F", "SW_IN_POT"} <= set(rows):
        above = rows["SW_IN_F"] > 1.05 * rows["SW_IN_POT"] + 5
        tests.append(
            ("SW_IN_F", _share(above, rows["SW_IN_F"]), SHARE_OF_DAYS, "days with more radiation than at the top of the atmosphere")
        )
    if {"VPD_F", "TA_F"} <= set(rows):
        both = rows["VPD_F"] + rows["TA_F"]
        tests.append(("VPD_F", _share(rows["VPD_F"] > _most_vpd(rows["TA_F"]), both), SHARE_OF_DAYS, "days with VPD above saturation"))
    if "P_F" in rows and rows["P_F"].count() >= FEWEST:
        rain = rows["P_F"].mean()
        wet = rain > WETTEST
        words = "more rain than anywhere on Earth" if wet else "no rain"
        tests.append(("P_F", rain if wet else -rain, WETTEST if wet else -DRIEST, words))
    return [
        {"variable": name, "kind": "variable", "time": pd.NaT, "statistic": abs(value), "limit": abs(limit), "rows": len(rows), "why": why}
        for name, value, limit, why in tests
        if value > limit
    ]


def _share(bad: pd.Series, known: pd.Series) -> float:
    """Share of the days with a value that are bad; 0 where few have one."""
    return float(bad[known.notna()].mean()) if known.count() >= FEWEST else 0.0


def _most_vpd(temperature: pd.Series) -> pd.Series:
    """Half as much again as the saturation vapour pressure at the day's mean [degC -> hPa] (Magnus form), plus 1 hPa."""
    saturation = 6.112 * np.exp((17.62 * temperature / (243.12 + temperature)).to_numpy())
    return pd.Series(1.5 * saturation + 1, index=temperature.index)


def _breaks(rows: pd.DataFrame, usable: pd.Series) -> list[dict[str, Any]]:
    """Times with the largest Kolmogorov-Smirnov distance between the residuals on both sides, at least a window apart."""
    if usable.sum() < 2 * FEWEST:
        return []
    day, residual = _residuals(rows.loc[usable])
    distances = {c: _distance(day, residual, c) for c in range(day[0] + STEP, day[-1], STEP)}
    times: list[int] = []
    for candidate in sorted(distances, key=lambda c: -distances[c]):
        if distances[candidate] > BREAK and all(abs(candidate - other) >= WINDOW for other in times):
            times.append(candidate)
    dates = [pd.Timestamp(np.datetime64(c, "D")).as_unit("ns") for c in sorted(times)]
    lost = int((~_longest(rows["time"], usable, pd.Series(dates, dtype="datetime64[ns]"))).sum()) if dates else 0
    return [
        {"variable": "nee", "kind": "break", "time": date, "statistic": distances[c], "limit": BREAK, "rows": lost, "why": "break point"}
        for c, date in zip(sorted(times), dates, strict=True)
    ]


def _residuals(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970, ascending, and the flux minus its calendar month's median over the month's median deviation."""
    rows = rows.sort_values("time")
    month = rows["time"].dt.month
    residual = rows["nee"] - rows.groupby(month)["nee"].transform("median")
    scale = residual.abs().groupby(month).transform("median")
    day = rows["time"].to_numpy().astype("datetime64[D]").astype(np.int64)
    return day, (residual / scale.where(scale > 0, 1.0)).to_numpy()


def _distance(day: np.ndarray, residual: np.ndarray, candidate: int) -> float:
    first, middle, last = np.searchsorted(day, [candidate - WINDOW, candidate, candidate + WINDOW])
    before, after = np.sort(residual[first:middle]), np.sort(residual[middle:last])
    if min(len(before), len(after)) < FEWEST:
        return 0.0
    both = np.concatenate([before, after])
    share = [np.searchsorted(part, both, side="right") / len(part) for part in (before, after)]
    return float(np.abs(share[0] - share[1]).max())


def _longest(time: pd.Series, usable: pd.Series, breaks: pd.Series) -> pd.Series:
    """Rows in the stretch between breaks with the most usable days; of equal ones the latest."""
    stretch = pd.Series(np.searchsorted(np.sort(breaks.to_numpy()), time.to_numpy(), side="right"), index=time.index)
    count = np.bincount(stretch[usable], minlength=len(breaks) + 1)
    return stretch == len(count) - 1 - int(np.argmax(count[::-1]))

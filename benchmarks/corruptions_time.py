"""Corruptions of when and of which files, each with a word that its message must hold, and ways to write the same that must not matter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from corruptions import Change, Corruption, entry, fields, several, study, table
from good_inputs import MONTHS, RECORD, STUDY, cams_name

_FORMS = {"D": "days", "h": "hours", "s": "seconds"}
Edit = Callable[[xr.Dataset], xr.Dataset]


def counted(unit: str = "D", start: str = "1900-01-01", zone: str = "", shift: float = 0.0, **attributes: str) -> Edit:
    """Stamps as numbers in a unit of their own."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        number = (data.time.to_numpy() - np.datetime64(start)) / np.timedelta64(1, unit) + shift
        said = {"units": f"{_FORMS[unit]} since {start} 00:00:00{zone}", **attributes}
        return data.assign_coords(time=("time", number, said))

    return edit


def numbered(values: Callable[[pd.DatetimeIndex], Any], **attributes: str) -> Edit:
    """Any numbers for stamps."""
    return lambda d: d.assign_coords(time=("time", np.asarray(values(pd.DatetimeIndex(d.time.to_numpy()))), attributes))


def bounded(begin: Callable[[pd.DatetimeIndex], Any], end: Callable[[pd.DatetimeIndex], Any], key: str = "bounds") -> Edit:
    """Time bounds made from the stamps; the stamps themselves at the end."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        stamps = pd.DatetimeIndex(data.time.to_numpy())
        sides = [
            (pd.DatetimeIndex(side(stamps)).to_numpy() - np.datetime64("1900-01-01")) / np.timedelta64(1, "D") for side in (begin, end)
        ]
        found = data.assign_coords(time=("time", sides[1], {"units": "days since 1900-01-01", key: "time_bnds"}))
        return found.assign(time_bnds=(("time", "two"), np.stack(sides, 1)))

    return edit


def spaced(frequency: str) -> Edit:
    """Other steps than months or days, from the same first one."""
    return lambda d: d.assign_coords(time=pd.date_range(d.time.to_numpy()[0], periods=d.sizes["time"], freq=frequency))


def at(stamps: list[pd.Timestamp]) -> Edit:
    """Other stamps."""
    return lambda d: d.assign_coords(time=pd.DatetimeIndex(stamps))


def _weeks(months: pd.DatetimeIndex) -> pd.Index:
    return (pd.Timestamp("2001-01-01") + (12 * (months.year - 2001) + months.month - 1) * pd.Timedelta(days=7)).strftime("%Y-%m-%d")


def _hour_before(months: pd.DatetimeIndex) -> pd.Index:
    return (months - pd.Timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def rows_at(texts: Callable[[pd.DatetimeIndex], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A table's dates written in another way."""
    return lambda t: t.assign(time=texts(pd.DatetimeIndex(t["time"])))


def annual_rows(t: pd.DataFrame) -> pd.DataFrame:
    keep = [k for k in ("product", "region", "unit") if k in t]
    return t.assign(time=t["time"].str[:4] + "-01-01").groupby([*keep, "time"], as_index=False)["value"].mean()


def split(by: str, leave_out: tuple[int, ...] = (), again: tuple[int, ...] = (), edit: Edit = lambda d: d) -> Change:
    """The weather in one file per group (the last one edited), and the study that reads them."""

    def change(folder: Path) -> None:
        data = xr.load_dataset(folder / "weather.nc", engine="h5netcdf").drop_encoding()
        (folder / "weather.nc").unlink()
        (folder / "weather" / ".ipynb_checkpoints").mkdir(parents=True)
        (folder / "weather" / ".ipynb_checkpoints" / "w_2001.nc").write_bytes(b"")
        parts = [(int(key), part) for key, part in data.groupby(by) if key not in leave_out]
        for number, part in parts:
            one = edit(part) if number == parts[-1][0] else part
            one.to_netcdf(folder / "weather" / f"w_{number}.nc", engine="h5netcdf")
            if number in again:
                part.to_netcdf(folder / "weather" / f"w_{number} (1).nc", engine="h5netcdf")
        study(predictors=[{**STUDY["predictors"][0], "path": "weather"}, *STUDY["predictors"][1:]])(folder)

    return change


def _in_years(name: str) -> Change:
    """A gridded file as one file per year under a pattern."""

    def change(folder: Path) -> None:
        data = xr.load_dataset(folder / name, engine="h5netcdf").drop_encoding()
        (folder / name).unlink()
        for year, part in data.groupby("time.year"):
            fixed = [v for v in data if "time" not in data[v].dims]
            part.assign({v: data[v] for v in fixed}).to_netcdf(folder / name.replace(".nc", f"_{year}.nc"), engine="h5netcdf")

    return change


def _cams_stamped_late(folder: Path) -> None:
    for month in MONTHS:
        fields(f"cams/{cams_name(month)}", lambda d, m=month: d.expand_dims(time=[m + pd.offsets.MonthBegin(1)]))(folder)


def _next(stamps: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(stamps + pd.offsets.MonthBegin(1))


_LATE = bounded(lambda t: t, _next)
_CLIMATOLOGY = bounded(lambda t: t, lambda t: _next(t) + pd.DateOffset(years=9), "climatology")
_EMPTY = bounded(lambda t: t, lambda t: t)
_DECIMAL = numbered(lambda t: t.year + (t.month - 0.5) / 12, units="years")
_PARTS = numbered(lambda t: 12 * (t.year - 2000) + t.month + 0.27, units="months since 2000-01-01")
_G, _B, _L, _P, _W = "flux.nc", "gcb.nc", "lateral.nc", "product.nc", "weather.nc"
_FOUR_YEARS, _NINE_MONTHS = pd.date_range("1996", periods=4, freq="YS"), pd.date_range("2003-01-01", periods=9, freq="MS")

WHEN: dict[str, dict[str, tuple[Change, str]]] = {
    "inversions_gridded": {
        "annual means": (fields(_G, spaced("YS")), "annual"),
        "quarters": (fields(_G, spaced("QS")), "quarterly"),
        "steps of 30 days": (fields(_G, spaced("30D")), "calendar month"),
        "weeks": (fields(_G, spaced("7D")), "weekly"),
        "a year and then months": (fields(_G, at([*_FOUR_YEARS, *MONTHS[4:]])), "mixed"),
        "a calendar without leap days": (fields(_G, counted(calendar="noleap")), "calendar"),
        "months of 30 days": (fields(_G, counted(calendar="360_day")), "calendar"),
        "decimal years": (fields(_G, _DECIMAL), "decimal years"),
        "parts of months": (fields(_G, _PARTS), "parts of months"),
        "bounds without length": (fields(_G, _EMPTY), "bounds"),
        "bounds of a climatology": (fields(_G, _CLIMATOLOGY), "climatology"),
        "one step": (fields(_G, lambda d: d.isel(time=slice(0, 1))), "one time step"),
    },
    "inversions_gcb": {
        "annual means": (fields(_B, spaced("YS")), "annual"),
        "8 days": (fields(_B, spaced("8D")), "8-day"),
        "another calendar": (fields(_B, counted(calendar="365_day")), "calendar"),
    },
    "inversions_cams": {"stamped at the end of the month": (_cams_stamped_late, "stamped at the end")},
    "inversions_table": {
        "years": (table("inversions.csv", annual_rows), "annual"),
        "years alone": (table("inversions.csv", lambda t: annual_rows(t).assign(time=lambda a: a.time.str[:4])), "annual"),
        "weeks": (table("inversions.csv", rows_at(_weeks)), "weekly"),
        "local midnights in UTC": (table("inversions.csv", rows_at(_hour_before)), "UTC"),
        "decimal years": (table("inversions.csv", rows_at(lambda t: (t.year + (t.month - 0.5) / 12).map("{:.2f}".format))), "date"),
    },
    "adjustments": {
        "lateral monthly, said annual": (fields(_L, spaced("MS")), "monthly"),
        "lateral of another calendar": (fields(_L, counted(calendar="noleap")), "calendar"),
        "fire in years called time": (table("fire.csv", lambda t: t.rename(columns={"year": "time"})), "year"),
    },
    "references": {
        "map of years": (fields(_P, spaced("YS")), "annual"),
        "map of weeks": (fields(_P, spaced("7D")), "weekly"),
        "map of a climatology": (fields(_P, _CLIMATOLOGY), "climatology"),
        "map of another calendar": (fields(_P, counted(calendar="360_day")), "calendar"),
        "table of years": (table("product.csv", annual_rows), "annual"),
    },
    "predictors": {
        "a calendar without leap days": (fields(_W, counted(calendar="noleap")), "calendar"),
        "decimal years": (fields(_W, numbered(lambda t: t.year + t.day_of_year / 366)), "decimal years"),
        "days and then months": (fields(_W, at([*RECORD[:-9], *_NINE_MONTHS])), "mixed"),
        "a climatology": (fields(_W, _CLIMATOLOGY), "climatology"),
        "a year's file missing": (split("time.year", leave_out=(2001,)), "no file holds 2001-01-01 to 2001-12-31"),
        "a month's file missing": (split("time.month", leave_out=(7,)), "overlap"),
        "a file twice": (split("time.year", again=(2001,)), "overlap"),
        "another unit in one file": (split("time.year", edit=lambda d: d.assign(ta=d.ta.assign_attrs(units="K"))), "different units"),
        "another grid in one file": (split("time.year", edit=lambda d: d.isel(lat=slice(1, None))), "different cells"),
        "no steps in one file": (split("time.year", edit=lambda d: d.isel(time=slice(0, 0))), "no time step"),
    },
}  # fmt: skip
TIME_CORRUPTIONS = [
    Corruption(f"{kind}: when: {name}", kind, change, cause) for kind, changes in WHEN.items() for name, (change, cause) in changes.items()
]

_YEARS_OF_FLUX = several(_in_years(_G), entry("inversions_gridded", "inversions", 0, path="flux_*.nc"))
HARMLESS_TIME = [  # other ways to write the same: the result must be the same
    Corruption("inversions: stamped at the end of the month, with bounds", "inversions_gridded", fields(_G, _LATE)),
    Corruption("inversions: a clock ahead of UTC", "inversions_gridded", fields(_G, counted("h", zone=" +01:00"))),
    Corruption("inversions: a rounding error before midnight", "inversions_gridded", fields(_G, counted(shift=-1e-6))),
    Corruption("inversions: months counted", "inversions_gridded", fields(_G, numbered(
        lambda t: 12 * (t.year - 1960) + t.month - 0.5, units="months since 1960-01-01", calendar="360"))),
    Corruption("inversions: digits of months", "inversions_gridded", fields(_G, numbered(lambda t: 100 * t.year + t.month))),
    Corruption("inversions: one file per year", "inversions_gridded", _YEARS_OF_FLUX),
    Corruption("inversions: a budget in one file per year", "inversions_gcb", several(
        _in_years(_B), entry("inversions_gcb", "inversions", 0, path="gcb_*.nc"))),
    Corruption("inversions: a table with zones", "inversions_table", table("inversions.csv", rows_at(
        lambda t: t.strftime("%Y-%m-%dT00:00:00") + np.where((t.month > 3) & (t.month < 11), "+02:00", "+01:00")))),
    Corruption("references: a clock behind UTC", "references", fields(_P, counted("s", zone=" -6"))),
    Corruption("predictors: one file per year, hidden files beside", "predictors", split("time.year")),
    Corruption("predictors: stamps at noon of another clock", "predictors", fields(_W, counted("h", zone=" +09:00", shift=12))),
]  # fmt: skip

"""A finished run as one object: its products, tables, totals and figures, each read when it is asked for."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.in_python import tables
from dualflux.in_python.areas import land_inside
from dualflux.in_python.folder import RunFiles, outdated, read_run_files
from dualflux.in_python.html import mean_annual, page
from dualflux.in_python.periods import sums_over
from dualflux.units import PETAGRAM, days_in_month
from dualflux.variants import ANALYSIS

if TYPE_CHECKING:
    from dualflux.in_python.plots import Plots

_COLUMNS = ("product", "member", "region", "time", "value")


def open_run(folder: Path | str) -> "Run":
    """Open a finished run. Products and tables are read when they are asked for.

    Parameters
    ----------
    folder : Path
        What `dualflux run` wrote.

    Raises
    ------
    InputError
        No run folder, a run half done (with what is there and what is missing), or one of a version whose folders are not read.
    """
    return Run(read_run_files(folder))


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished run; `dualflux.open_run` makes it. Nothing but settings and provenance is read before it is asked for.

    Examples
    --------
    >>> import dualflux
    >>> run = dualflux.open_run("runs/demo")  # doctest: +SKIP
    >>> run.total("global")["mean"]  # doctest: +SKIP
    """

    files: RunFiles

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.files.folder

    @property
    def study(self) -> dict[str, Any]:
        """The settings of the study, defaults written out."""
        return self.files.study

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, seed, inputs with checksums, stages and what to cite."""
        return self.files.provenance

    @property
    def version(self) -> str:
        """The version of dualflux that made the run."""
        return self.files.version

    @property
    def variants(self) -> list[str]:
        """Names of the variants, as the study lists them."""
        return list(self.files.variants)

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return tables.table_names(self.folder)

    @cached_property
    def regions(self) -> list[str]:
        """`global`, then the regions of the study."""
        names = list(dict.fromkeys(self._regional["region"]))
        return [*(n for n in names if n == "global"), *(n for n in names if n != "global")]

    def product(self, variant: str = "dual") -> xr.Dataset:
        """The gridded product of a variant, opened, not read.

        Parameters
        ----------
        variant : str

        Returns
        -------
        Dataset
            ``nee`` (time, lat, lon) [gC m-2 d-1, per m2 of land, positive to the atmosphere], ``nee_tower``, ``nee_std``,
            ``nee_std_total``, ``nee_member`` (member, time, lat, lon; absent above 2 GB), ``land_area`` (lat, lon) [m2], ``applicability``;
            of variants that inversions constrain ``nee_analysis`` and ``nee_analysis_std``, missing outside the fitted years.

        Raises
        ------
        InputError
            An unknown variant, a damaged file.
        """
        path = self.files.product(variant)
        try:
            data = xr.open_dataset(path, engine="h5netcdf")
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{path}: cannot be opened ({error}); the file is gone or damaged: run again") from error
        lacking = [name for name in ("nee", "land_area", "time", "lat", "lon") if name not in data.variables]
        if lacking:
            data.close()
            raise outdated(self.folder, self.version, f"products/{variant}/nee_monthly.nc has no variable {', '.join(lacking)}")
        return data

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run, see `tables`.

        Parameters
        ----------
        name : str
            Without `.csv`.

        Returns
        -------
        DataFrame
            `time` as times, `member` as whole numbers (missing: the mean of the members), names as text.

        Raises
        ------
        InputError
            An unknown table, with those there are.
        """
        return tables.read_table(self.folder, name)

    def total(self, region: str, variant: str = "dual", freq: str = "YE") -> pd.DataFrame:
        """The flux of a region, summed over months, quarters or years, from ``tables/regional_monthly.csv``.

        Parameters
        ----------
        region : str
            One of `regions`.
        variant : str
            Or a variant's analysis of the fitted years, such as `dual_analysis`.
        freq : str
            A pandas frequency: MS, ME; QS, QE (QE-NOV: seasons); YS, YE.

        Returns
        -------
        DataFrame, index `time`
            `mean`, `std` (of the members' sums), `member_0` ...; `attrs["unit"]` is PgC yr-1, PgC quarter-1 or PgC month-1, positive to the
            atmosphere. A period with missing months is NaN.

        Raises
        ------
        InputError
            An unknown region, variant or frequency.
        """
        self.files.product(variant.removesuffix(ANALYSIS))
        if region not in self.regions:
            raise InputError(f"{self.folder}: no region `{region}`; it has {', '.join(self.regions)}; of any other area: run.aggregate")
        rows = self._regional
        rows = rows[(rows["product"] == variant) & (rows["region"] == region)]
        mean = rows[rows["member"].isna()].set_index("time")["value"]
        members = rows[rows["member"].notna()].pivot(index="time", columns="member", values="value")
        if mean.empty and variant.endswith(ANALYSIS):
            raise InputError(f"{self.folder}: {variant.removesuffix(ANALYSIS)} has no analysis: no inversions constrain it")
        if mean.empty:
            raise outdated(self.folder, self.version, f"tables/regional_monthly.csv has no rows of {variant} for {region}")
        return sums_over(mean, members, freq, {"region": region, "variant": variant})

    def aggregate(self, area: Any, variant: str = "dual", freq: str = "YE", *, follows_coast: bool = False) -> pd.DataFrame:
        """The flux of any area, from the members of the gridded product; one month is in memory at a time.

        Parameters
        ----------
        area : DataArray, dict, path, or shapely or geopandas object
            A mask: bool or fractions of each cell, with latitudes and longitudes, on any regular grid (brought to the product's by
            area); missing is outside. Or polygons in degrees of longitude and latitude: a GeoJSON dict, a file, a geometry; edges are
            straight in longitude and latitude, and several polygons are one area.
        variant : str
        freq : str
            See `total`.
        follows_coast : bool
            Where a cell is partly sea and partly inside: False takes its land as spread evenly, so that the parts of an area sum to the
            whole; True says that the area holds land only, as outlines of countries do, and takes F / max(F, land fraction) of the cell's
            land for the fraction F inside.

        Returns
        -------
        DataFrame
            As of `total`; ``attrs["land_area"]`` [m2] is the land it holds. Where the product has no members (above 2 GB) `std` is NaN.

        Raises
        ------
        InputError
            An invalid area or one without land, an unknown variant or frequency, land without a value.
        """
        with self.product(variant) as data:
            grid = Grid(data["lat"].to_numpy().astype(float), data["lon"].to_numpy().astype(float))
            land = data["land_area"].to_numpy().astype(float)
            weight = land * land_inside(area, grid, land / grid.cell_area, follows_coast)
            name = "nee_member" if "nee_member" in data else "nee"
            integrals = self._integrals(data[name], weight)
        members = integrals if name == "nee_member" else integrals.iloc[:, :0]
        return sums_over(integrals.mean(axis=1), members, freq, {"variant": variant, "land_area": float(weight.sum())})

    @cached_property
    def land_shares(self) -> xr.DataArray:
        """Part of each cell's land that belongs to each region, (region, lat, lon): ``run.aggregate(run.land_shares.sel(region=NAME))``."""
        path = self.folder / "prepared"
        try:
            names = json.loads((path / "about.json").read_text(encoding="utf-8"))["regions"]
            with np.load(path / "cells.npz") as file:
                shares, index, lat, lon = (file[name] for name in ("region_fraction", "index", "lat", "lon"))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise outdated(self.folder, self.version, f"prepared/cells.npz and about.json cannot be read ({error})") from error
        full = np.zeros((len(shares), len(lat) * len(lon)))
        full[:, index] = shares
        coords = {"region": names, "lat": lat, "lon": lon}
        return xr.DataArray(full.reshape(len(shares), len(lat), len(lon)), coords, ("region", "lat", "lon"), "land_shares", {"units": "1"})

    @cached_property
    def plot(self) -> "Plots":
        """The report's figures, one by one: ``run.plot.seasonal_cycle("global")``, `annual`, `map`, `sites`."""
        from dualflux.in_python.plots import Plots  # matplotlib takes its time

        return Plots(self.files)

    @cached_property
    def _regional(self) -> pd.DataFrame:
        table = self.table("regional_monthly")
        lacking = [name for name in _COLUMNS if name not in table]
        if lacking:
            raise outdated(self.folder, self.version, f"tables/regional_monthly.csv has no column {', '.join(lacking)}")
        return table

    def _integrals(self, flux: xr.DataArray, weight: np.ndarray) -> pd.DataFrame:
        """(month, member) [PgC month-1]."""
        inside = weight > 0
        times = pd.DatetimeIndex(flux["time"].to_numpy())
        rows = []
        for month in range(len(times)):
            values = flux.isel(time=month).transpose(..., "lat", "lon").to_numpy()[..., inside].astype(np.float64)
            if not np.isfinite(values).all():
                raise InputError(f"{self.folder}: {flux.name} lacks values in {times[month]:%Y-%m}; a partial sum is no flux of an area")
            rows.append(np.atleast_1d(values @ weight[inside]))
        return pd.DataFrame(np.array(rows) * (days_in_month(times) / PETAGRAM)[:, None], times)

    def __repr__(self) -> str:
        return f"<Run {self.study['name']}: {', '.join(self.variants)}; {self.folder}>"

    def _repr_html_(self) -> str:
        period = self.study.get("period") or ("", "")
        lines = {
            "period": f"{period[0]} to {period[-1]}",
            "variants": ", ".join(self.variants),
            "tables": ", ".join(self.tables),
            "made by": f"dualflux {self.version}",
            "folder": str(self.folder),
        }
        return page(f"Run {self.study['name']}", lines, mean_annual(self.table("summary"), self.variants))

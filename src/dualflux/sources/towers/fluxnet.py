"""Towers from FLUXNET/ONEFlux daily (DD) and monthly (MM) CSV files, as FLUXNET, AmeriFlux and ICOS publish them."""

import re
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.sources.tables import find_file, find_files, read_header, read_table, to_numbers, to_times
from dualflux.sources.towers.records import SITE_COLUMNS, Records, TimeStep, check_rows, check_sites

_NAME = re.compile(r"^[A-Z0-9]+_(?P<site>[A-Z]{2}-[A-Za-z0-9]+)_(?P<middle>.*_)?(?P<step>DD|MM)(_.*)?\.csv$")
_STEPS: dict[str, tuple[TimeStep, str]] = {"DD": ("daily", "%Y%m%d"), "MM": ("monthly", "%Y%m")}
METEOROLOGY = ("TA_F", "SW_IN_F", "VPD_F", "P_F")


class FluxnetSource(BaseModel):
    """FLUXNET, AmeriFlux FLUXNET or ICOS ETC files, one DD or MM file per site.

    Attributes
    ----------
    path : str or list of str
        Files, globs or folders. Of what a glob or folder holds, the files of other resolutions, ERA5 and BIF files are not meant.
    sites : str
        CSV table with site, lat, lon, igbp; its sites without a file are not meant.
    variable : str
        A site without usable values of a VUT variable is read from the CUT variable instead, with its own quality and uncertainty.
    quality_above : float, optional
        Fraction (0-1) of measured or well-filled half-hours that a day must exceed; in a monthly study, the month's mean.
    uncertainty : "joint", "random" or None
        `joint` is sqrt(RANDUNC^2 + ((p84 - p16) / 2)^2), computed where the file lacks it but has the percentiles; a file without
        percentiles gives `random`. `Towers.sites` says which it was.
    minimum_coverage : float
        Part of a month's days that must have a value where days are averaged to months.

    The columns TA_F [degC], SW_IN_F [W m-2], VPD_F [hPa] and P_F [mm d-1] are kept as site meteorology, where a file has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | list[str]
    format: Literal["fluxnet"]
    sites: str
    variable: str = "NEE_VUT_REF"
    quality_above: float | None = Field(default=0.8, ge=0, lt=1)
    uncertainty: Literal["joint", "random"] | None = "joint"
    minimum_coverage: float = Field(default=0.8, gt=0, le=1)


def read_fluxnet(source: FluxnetSource, root: Path, time_step: TimeStep) -> list[Records]:
    """Read and check all files of one source, one `Records` per site.

    Raises
    ------
    InputError
        No matching file, a site in two files or absent from the site table, missing columns, text among numbers, a time twice; all at once.
    """
    problems, records = Problems(), []
    files: dict[str, Path] = {}
    sites = pd.DataFrame()
    with problems.collect():
        files = fluxnet_files(source.path, root, time_step)
    with problems.collect():
        table = find_file(source.sites, root)
        listed = read_table(table, SITE_COLUMNS)
        listed = listed.loc[listed["site"].astype("string").str.strip().isin(list(files))]
        sites = check_sites(listed, table.name)
        unknown = sorted(set(files) - set(sites.index))
        if unknown:
            raise InputError(f"{table.name}: no row for {', '.join(unknown)}; add their lat, lon and igbp")
    problems.raise_if_any()
    for site, path in files.items():
        with problems.collect():
            records.append(_read_site(site, path, sites.loc[[site]], source))
    problems.raise_if_any()
    return records


def fluxnet_files(paths: str | Sequence[str], root: Path, time_step: TimeStep) -> dict[str, Path]:
    """The flux file of each site, sorted by site: MM where a monthly study finds it, else DD.

    Raises
    ------
    InputError
        A named file that is no DD or MM flux file; no such file at all; two files of one site.
    """
    problems = Problems()
    found: dict[str, dict[str, list[Path]]] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        with problems.collect():
            for file in find_files(path, root):
                named = _NAME.match(file.name)
                if named and not re.search("ERA|BIF", named["middle"] or ""):
                    found.setdefault(named["site"], {}).setdefault(named["step"], []).append(file)
                elif not has_magic(path) and not (root / path).is_dir():
                    raise InputError(
                        f"{path}: no DD or MM flux file by its name; allowed: for example FLX_DE-Hai_FLUXNET2015_SUBSET_DD_*.csv"
                    )
    problems.raise_if_any()
    steps = ["MM", "DD"] if time_step == "monthly" else ["DD"]
    chosen = {site: next((by_step[s] for s in steps if s in by_step), []) for site, by_step in sorted(found.items())}
    for site, files in chosen.items():
        if len(set(files)) > 1:
            names = ", ".join(sorted(f.name for f in files))
            problems.add(f"{site}: {len(files)} files ({names}); releases are processed differently, keep one per site")
    chosen = {site: files for site, files in chosen.items() if files}
    if not chosen:
        problems.add(f"{paths}: no {' or '.join(steps)} flux file below {root} (a {time_step} study reads no other); unpack archives first")
    problems.raise_if_any()
    return {site: files[0] for site, files in chosen.items()}


def _read_site(site: str, path: Path, site_row: pd.DataFrame, source: FluxnetSource) -> Records:
    header = read_header(path)
    wanted = [name for base in _candidates(source.variable) for name in _columns_of(base)]
    table = read_table(path, {"TIMESTAMP", *(name for name in (*wanted, *METEOROLOGY) if name in header)})
    named = _NAME.match(path.name)
    step, form = _STEPS[named["step"] if named else "DD"]
    time = to_times(table.pop("TIMESTAMP"), f"{path.name}, column `TIMESTAMP`", form)
    numbers = pd.DataFrame({name: to_numbers(table[name], f"{path.name}, column `{name}`") for name in table.columns})
    variable = _usable(numbers, source, path.name)
    rows = pd.DataFrame({"site": site, "time": time, "nee": numbers[variable], "quality": _quality(numbers, variable, source, path.name)})
    rows["random"], rows["systematic"], kind = _uncertainty(numbers, variable, source.uncertainty)
    rows = rows.join(numbers[[name for name in METEOROLOGY if name in numbers]])
    check_rows(rows, path.name)
    return Records(rows, site_row.assign(source=path.name, variable=variable, uncertainty=kind), step)


def _candidates(variable: str) -> list[str]:
    return [variable] if "VUT" not in variable else [variable, variable.replace("VUT", "CUT")]


def _columns_of(variable: str) -> list[str]:
    low, high = _percentiles(variable)
    return [variable, f"{variable}_QC", f"{variable}_RANDUNC", f"{variable}_JOINTUNC", low, high]


def _percentiles(variable: str) -> tuple[str, str]:
    """NEE_VUT_REF -> NEE_VUT_16, NEE_VUT_84."""
    family = variable.rsplit("_", 1)[0]
    return f"{family}_16", f"{family}_84"


def _usable(numbers: pd.DataFrame, source: FluxnetSource, what: str) -> str:
    """The variable, or its CUT counterpart for a site that has no values (or no quality) of it."""
    for variable in _candidates(source.variable):
        needed = [variable] if source.quality_above is None else [variable, f"{variable}_QC"]
        if all(name in numbers and numbers[name].notna().any() for name in needed):
            return variable
    needed_names = " or ".join(f"`{v}`" + ("" if source.quality_above is None else f" with `{v}_QC`") for v in _candidates(source.variable))
    raise InputError(f"{what}: no values of {needed_names}; leave the file out, or state another `variable` or `quality_above: null`")


def _quality(numbers: pd.DataFrame, variable: str, source: FluxnetSource, what: str) -> pd.Series | float:
    if source.quality_above is None:
        return np.nan
    quality = numbers[f"{variable}_QC"]
    if not quality.dropna().between(0, 1).all():
        raise InputError(
            f"{what}: `{variable}_QC` from {quality.min():g} to {quality.max():g}; allowed: fractions from 0 to 1, as in ONEFlux files"
        )
    return quality


def _uncertainty(numbers: pd.DataFrame, variable: str, kind: str | None) -> tuple[pd.Series, pd.Series, str]:
    """Random and systematic part [gC m-2 d-1] and the kind found; a random uncertainty of 0 is a missing one."""
    unknown = pd.Series(np.nan, index=numbers.index)
    random = numbers.get(f"{variable}_RANDUNC", unknown)
    random = random.mask(random == 0)
    joint = numbers.get(f"{variable}_JOINTUNC", unknown)
    joint = joint.mask(joint == 0)
    low, high = _percentiles(variable)
    if kind == "joint" and joint.notna().any():
        return random, (joint**2 - random.fillna(0.0) ** 2).clip(lower=0) ** 0.5, "joint"
    if kind == "joint" and random.notna().any() and low in numbers and high in numbers and (numbers[high] - numbers[low]).notna().any():
        return random, ((numbers[high] - numbers[low]) / 2).abs().where(random.notna()), "joint from percentiles"
    if kind is not None and random.notna().any():
        return random, unknown, "random"
    return unknown, unknown, "none"

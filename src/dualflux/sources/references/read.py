"""Products to compare with as monthly regional integrals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, Regions
from dualflux.sources.files.regional_table import convert_by_unit, load_table, parse_months, pivot_once, without_fills
from dualflux.sources.files.tables import find_file
from dualflux.sources.references.maps import reference_maps
from dualflux.sources.references.settings import GriddedFields, ReferenceSource, TableReference
from dualflux.units import PETAGRAM, integral_to_monthly

RESERVED = ("towers", "inversions", "plain", "dual", "target")


def read_references(
    sources: Sequence[ReferenceSource],
    root: Path,
    grid: Grid,
    regions: Regions,
    land_fraction: np.ndarray,
    times: pd.DatetimeIndex,
) -> xr.DataArray:
    """Monthly regional integrals of all reference products.

    Parameters
    ----------
    sources : sequence of ReferenceSource
    root : Path
        Folder that relative paths start from.
    land_fraction : array, (lat, lon)
        The study's.
    times : DatetimeIndex, (time,)
        First days of the months wanted.

    Returns
    -------
    DataArray, (product, region, time)
        PgC month-1, positive to the atmosphere; regions are the parts and `global`; NaN where a product has no data. The coordinate
        `missing_share` (product, region) is the largest share of land without a value in any month, counted as no flux.

    Raises
    ------
    InputError
        Missing files, variables or columns, unknown units or regions, land without a value under rule `error`, no month in
        common with the study, a product named twice or like one of ours; all at once.
    """
    problems = Problems()
    found: list[tuple[str, np.ndarray, np.ndarray]] = []
    for source in sources:
        with problems.collect():
            if isinstance(source, TableReference):
                found.extend(_table_products(source, root, regions.names, times))
            else:
                found.append((source.product, *_integrals(source, root, grid, regions, land_fraction, times)))
    names = [name for name, _, _ in found]
    for name in sorted({n for n in names if names.count(n) > 1 or n in RESERVED}):
        problems.add(f"references: product `{name}` stands twice or is a name of ours ({', '.join(RESERVED)}); give another `product`")
    problems.raise_if_any()
    shape = (len(found), len(regions.names) + 1)
    values = np.array([v for _, v, _ in found]).reshape(*shape, len(times))
    shares = np.array([s for _, _, s in found]).reshape(shape)
    coords = {"product": np.array(names, dtype=object), "region": [*regions.names, "global"], "time": times}
    result = xr.DataArray(values, coords=coords, dims=("product", "region", "time"), name="integral", attrs={"units": "PgC month-1"})
    return result.assign_coords(missing_share=(("product", "region"), shares))


def _integrals(
    source: GriddedFields, root: Path, grid: Grid, regions: Regions, land_fraction: np.ndarray, times: pd.DatetimeIndex
) -> tuple[np.ndarray, np.ndarray]:
    """(region, time) [PgC month-1] and the largest share of missing land, (region,)."""
    names = [*regions.names, "global"]
    integral, worst = np.full((len(names), len(times)), np.nan), np.zeros(len(names))
    position = {time: i for i, time in enumerate(times)}
    for month in reference_maps(source, root, grid, land_fraction, times, regions):
        if month.sums is None:
            raise RuntimeError(f"{source.product}: a month without the sums that were asked for")
        flux, land, missing = month.sums
        share = np.divide(missing, land, out=np.zeros_like(missing), where=land > 0)
        if source.missing == "error" and (share > 1e-9).any():
            said = ", ".join(f"{name} {100 * s:.3g} %" for name, s in zip(names, share, strict=True) if s > 1e-9)
            raise InputError(
                f"{source.product}: land without a value in {month.time:%Y-%m}: {said} of the area; a partial sum is no regional flux; "
                "say `missing: zero` if the product means no flux there, or give a complete file"
            )
        worst = np.maximum(worst, share)
        integral[:, position[month.time]] = flux * month.time.days_in_month / PETAGRAM
    return integral, worst


def _table_products(
    source: TableReference, root: Path, regions: tuple[str, ...], times: pd.DatetimeIndex
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    path = find_file(source.path, root)
    stated = {"product": source.product, "unit": source.units}
    table = load_table(path, ["region", "time", "value", *(name for name, value in stated.items() if value is None)])
    if source.units is not None and "unit" in table and (table["unit"] != source.units).any():
        raise InputError(
            f"{path.name}: the file says unit `{table['unit'].iloc[0]}`, the study `{source.units}`; correct or remove `units`"
        )
    table = table.assign(**{name: value for name, value in stated.items() if value is not None})
    table = without_fills(table, source.fill_value, source.implausible == "accept", path)
    unknown = sorted(set(table["region"]) - {*regions, "global"})
    if unknown:
        raise InputError(
            f"{path.name}: regions {', '.join(unknown)} are not in the mask; allowed: {', '.join(regions)}, global; rename them"
        )
    table = table.assign(time=parse_months(table, path))
    table = convert_by_unit(table, lambda values, unit, months: integral_to_monthly(values, unit, months, path.name))
    return [
        (str(name), _one_product(rows, str(name), regions, times, path), np.zeros(len(regions) + 1))
        for name, rows in table.groupby("product", sort=False)
    ]


def _one_product(table: pd.DataFrame, name: str, regions: tuple[str, ...], times: pd.DatetimeIndex, path: Path) -> np.ndarray:
    wide = pivot_once(table, "time", [*regions, "global"], path)
    if "global" not in set(table["region"]):
        wide["global"] = wide[list(regions)].sum(axis=1, skipna=False)
    if not wide.index.isin(times).any():
        raise InputError(
            f"{path.name}: {name} ({wide.index[0]:%Y-%m} to {wide.index[-1]:%Y-%m}) has no month in common with the study "
            f"({times[0]:%Y-%m} to {times[-1]:%Y-%m}); give rows of those years"
        )
    return wide.reindex(times).to_numpy().T

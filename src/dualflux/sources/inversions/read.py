"""All inversions of a study as monthly regional integrals, checked against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import Problems
from dualflux.grid import Grid, Regions
from dualflux.sources.files.region_weights import Place
from dualflux.sources.inversions.formats import (
    read_cams,
    read_carbontracker,
    read_carboscope,
    read_global_carbon_budget,
    read_gridded,
    read_oco2_mip,
)
from dualflux.sources.inversions.record import UNIT, Record
from dualflux.sources.inversions.regional import read_table
from dualflux.sources.inversions.settings import (
    CamsInversions,
    CarbonTrackerInversions,
    CarboScopeInversions,
    GlobalCarbonBudgetInversions,
    InversionSource,
    Oco2MipInversions,
    TableInversions,
)


@dataclass(frozen=True, eq=False)
class Inversions:
    """Monthly regional integrals of the inversions.

    Attributes
    ----------
    integral : DataArray, (product, region, time)
        PgC month-1, positive to the atmosphere; regions are the parts and `global`; NaN where a product has no data. `global` is a
        gridded product's own sum, the sum of the parts for a table. Coordinate `family`, (product): the system that a product
        is a release of, or its own name.
    notes : DataFrame
        product, source, first, last (months used), mean_annual_global [PgC yr-1], contents,
        includes_fire, own_fire, river_adjusted, outside_regions (global minus parts, mean annual) [PgC yr-1].
    own_fire : DataArray, (product, region, time), optional
        Fire emissions imposed in the products that bring them, NaN for the others; part of `integral`.
    """

    integral: xr.DataArray
    notes: pd.DataFrame
    own_fire: xr.DataArray | None = None


def read_inversions(
    sources: Sequence[InversionSource], root: Path, grid: Grid, regions: Regions, land_fraction: np.ndarray, times_monthly: pd.DatetimeIndex
) -> Inversions:
    """Read all inversions as monthly regional integrals.

    Parameters
    ----------
    sources : sequence of InversionSource
    root : Path
        The folder that paths are relative to.
    grid : Grid
        The study's grid.
    regions : Regions
        On `grid`.
    land_fraction : array, (lat, lon)
        On `grid`; divides the flux of cells shared by several regions (`region_weights.region_shares`).
    times_monthly : DatetimeIndex
        First days of the study's months.

    Raises
    ------
    InputError
        Every problem of every source: missing file, column or variable, unknown unit, regions that
        table and mask do not share, duplicated months, gaps inside a record, products without any month
        of the study, product names that occur twice.
    """
    place = Place(grid, regions, np.asarray(land_fraction, dtype=float), pd.DatetimeIndex(times_monthly))
    records: list[Record] = []
    problems = Problems()
    if not sources:
        problems.add("inversions: none given; list at least one file")
    for source in sources:
        with problems.collect():
            accept, family = source.implausible == "accept", source.family
            records += [replace(record, accept=accept, family=family) for record in _read(source, root, place)]
    names = [r.product for r in records]
    for name in sorted({n for n in names if names.count(n) > 1}):
        where = ", ".join(r.source for r in records if r.product == name)
        problems.add(f"inversions: product {name} comes from {where}; keep it in one of them with `products`, or name it with `product`")
    for record in records:
        if record.family in names and record.family != record.product:
            problems.add(f"inversions: family {record.family} of {record.product} is the name of a product; name the family otherwise")
        with problems.collect():
            record.check(place.times)
            record.require_plausible(place.times)
    problems.raise_if_any()
    return _assemble(records, place)


def _read(source: InversionSource, root: Path, place: Place) -> list[Record]:
    match source:
        case TableInversions():
            return read_table(source, root, place)
        case GlobalCarbonBudgetInversions():
            return read_global_carbon_budget(source, root, place)
        case CamsInversions():
            return read_cams(source, root, place)
        case CarboScopeInversions():
            return read_carboscope(source, root, place)
        case CarbonTrackerInversions():
            return read_carbontracker(source, root, place)
        case Oco2MipInversions():
            return read_oco2_mip(source, root, place)
    return read_gridded(source, root, place)


def _assemble(records: list[Record], place: Place) -> Inversions:
    notes = pd.DataFrame([_note(r, place.times) for r in records])
    integral = _stack(records, [r.months for r in records], place, "net land flux to the atmosphere")
    if all(r.fire is None for r in records):
        return Inversions(integral, notes)
    fires = [np.full_like(r.months, np.nan) if r.fire is None else r.fire for r in records]
    return Inversions(integral, notes, _stack(records, fires, place, "fire emissions imposed in the product"))


def _stack(records: list[Record], months: list[np.ndarray], place: Place, name: str) -> xr.DataArray:
    return xr.DataArray(
        np.stack([m.T for m in months]),
        dims=("product", "region", "time"),
        coords={
            "product": [r.product for r in records],
            "family": ("product", [r.family or r.product for r in records]),
            "region": [*place.regions.names, "global"],
            "time": place.times,
        },
        attrs={"units": UNIT, "long_name": f"{name}, integrated over the region and month"},
    )


def _note(record: Record, times: pd.DatetimeIndex) -> dict[str, object]:
    used = np.isfinite(record.months[:, -1])
    annual = 12 * record.months[used].mean(axis=0)
    return {
        "product": record.product,
        "source": record.source,
        "first": times[used][0],
        "last": times[used][-1],
        "mean_annual_global": annual[-1],
        "contents": f"{record.variable}: {record.contents.text()}",
        "includes_fire": record.contents.fire != "out",
        "own_fire": record.fire is not None,
        "river_adjusted": record.contents.lateral != "in",
        "outside_regions": annual[-1] - annual[:-1].sum(),
    }

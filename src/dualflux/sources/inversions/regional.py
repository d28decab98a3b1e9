"""Regional tables: product, region, time, value, unit."""

from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.region_weights import Place
from dualflux.sources.files.regional_table import (
    check_regions,
    convert_by_unit,
    load_table,
    no_overlap,
    parse_months,
    pivot_once,
    with_global,
    without_fills,
)
from dualflux.sources.files.tables import find_file
from dualflux.sources.inversions.contents import contents
from dualflux.sources.inversions.record import Record, choose
from dualflux.sources.inversions.settings import TableInversions
from dualflux.units import integral_to_monthly


def read_table(source: TableInversions, root: Path, place: Place) -> list[Record]:
    """One record per product; `global` is the sum of the parts."""
    path = find_file(source.path, root)
    problems, records = Problems(), []
    table = load_table(path, ["product", "region", "time", "value", "unit"], problems)
    with problems.collect():
        table = table[table["product"].isin(choose(list(dict.fromkeys(table["product"])), source.products, path))]
    keep = list(dict.fromkeys(table["product"]))
    with problems.collect():
        table = without_fills(table, source.fill_value, source.implausible == "accept", path)
    with problems.collect():
        check_regions(table, place.regions.names, path)
    for unit in dict.fromkeys(table["unit"]):
        with problems.collect():
            integral_to_monthly(np.zeros(0), unit, np.array([], "datetime64[ns]"), f"{path.name}: column unit")
    with problems.collect():
        table = table.assign(time=parse_months(table, path))
    problems.raise_if_any()
    table = convert_by_unit(table, lambda value, unit, time: integral_to_monthly(value, unit, time, f"{path.name}: column unit"))
    for name in keep:
        with problems.collect():
            parts = _parts_of(table[table["product"] == name], name, path, place)
            records.append(Record(name, path.name, with_global(parts), "regional table", contents(source)))
    problems.raise_if_any()
    return records


def _parts_of(rows: pd.DataFrame, name: str, path: Path, place: Place) -> np.ndarray:
    pivot = pivot_once(rows, "time", place.regions.names, path)
    absent = [str(r) for r in pivot.columns if pivot[r].isna().all()]
    if absent:
        raise InputError(
            f"{path}: {name} has no value for region {', '.join(absent)}; add its rows or leave the product out with `products`"
        )
    inside = pivot.reindex(place.times)
    if inside.notna().to_numpy().any():
        return inside.to_numpy()
    raise InputError(no_overlap(f"{path}: {name}", pd.DatetimeIndex(pivot.index), place.times))

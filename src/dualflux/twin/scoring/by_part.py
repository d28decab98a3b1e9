"""Coverage, sharpness and slope by part against the truth of a synthetic world, for its regions and for its cells.

Names are ``METRIC_PART``, those of cells ``cells_METRIC_PART``; see `dualflux.metrics.parts` for both.
"""

import re

import numpy as np

from dualflux.grid import LandCells
from dualflux.metrics.parts import COVERAGES, METRICS, PARTS, PartValues, coverage_by_group, part_scores, part_values

Scores = dict[str, dict[str, float]]  # of `global` or `cells`, and of single regions
MOST_CELLS = 2000  # whose members' months are kept: the default world has fewer
CELLS = "cells_"
OF_YEARS = ("anomaly", "annual")  # what unseen years are asked for
NAME = re.compile(rf"(?P<where>{CELLS})?(?P<metric>{'|'.join((*METRICS, 'cases', 'values'))})_(?P<part>{'|'.join(PARTS)})")
_REGIONAL_UNITS = {"annual": "PgC yr-1", "trend": "PgC yr-2"}
_CELL_UNITS = {"trend": "gC m-2 d-1 yr-1"}


def part_keys(part: str) -> tuple[str, ...]:
    """Names of what the benchmark records of a part, for regions and for cells."""
    names = (*COVERAGES, "cases", "interval_score", "slope")
    return tuple(f"{where}{name}_{part}" for where in ("", CELLS) for name in names)


def part_unit(key: str) -> str | None:
    """Unit of a score by part, or of a region's share in it, by its name; None for other names."""
    found = NAME.fullmatch(key)
    if key == f"{CELLS}share":
        return "1"
    if found is None:
        return None
    if found["metric"] not in ("interval_score", "crps"):
        return "1"
    return _CELL_UNITS.get(found["part"], "gC m-2 d-1") if found["where"] else _REGIONAL_UNITS.get(found["part"], "PgC month-1")


def regional_parts(members: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> Scores:
    """Scores of regional integrals, all regions pooled (`global`; the globe itself is not among them), and each one's coverage.

    Parameters
    ----------
    members : array, (member, region, year, 12)
        [PgC month-1]. A member (an inversion) with missing months does not count.
    truth : array, (region, year, 12)
    names : tuple of str
        Of the regions.
    """
    whole = members[np.isfinite(members).all(axis=(1, 2, 3))]
    if not len(whole):
        return {}
    return _named(part_values(whole, truth), "global", list(names), "")


def sampled_cells(cells: LandCells) -> np.ndarray:
    """Cells that are scored by part: all, or `MOST_CELLS` of them, always the same ones."""
    count = len(cells.index)
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST_CELLS])


def home_regions(cells: LandCells) -> np.ndarray:
    """Place of the region that has most of a cell, (cell,); cells of no region have the number of regions."""
    fraction = cells.region_fraction
    return np.where(fraction.sum(axis=0) > 0, fraction.argmax(axis=0), len(fraction))


def cell_parts(
    members: np.ndarray, truth: np.ndarray, cells: LandCells, sample: np.ndarray, extra: np.ndarray, passing: float = 0.0
) -> Scores:  # fmt: skip
    """Scores of cells by land area (`cells`), and their coverage in each region with the share of land it has.

    Cells of a region hang together: their effective number is that of `effective_cases` with regions (of anomalies: regions and years) as
    groups.

    Parameters
    ----------
    members : array, (member, month, sampled cell)
        [gC m-2 d-1]; whole years.
    truth : array, (month, sampled cell)
    sample : array of int
        Places of the sampled cells.
    extra : array, (cell,)
        Variance of a cell's flux beyond the members' [(gC m-2 d-1)^2]: no predictor sees it, it lasts, so it belongs to the offset.
    passing : float
        The same of what does not last: of a month's anomaly.
    """
    values, home = cell_values(members, truth, cells, sample, extra, passing), home_regions(cells)[sample]
    return _named(values, "cells", [[*cells.region_names, ""][place] for place in np.unique(home)], CELLS)


def cell_values(
    members: np.ndarray, truth: np.ndarray, cells: LandCells, sample: np.ndarray, extra: np.ndarray, passing: float = 0.0
) -> dict[str, PartValues]:  # fmt: skip
    """Parts of sampled cells, see `cell_parts`; cells of a region are a group."""
    own, true = (np.moveaxis(v, -1, -2).reshape(*v.shape[:-2], v.shape[-1], -1, 12) for v in (members, truth))
    return part_values(own, true, home_regions(cells)[sample], cells.land_area[sample], extra[sample], 1.0, passing)


def _named(values: dict[str, PartValues], pooled: str, homes: list[str], prefix: str) -> Scores:
    """Scores by where they are of and by name; `homes` names the groups of `coverage_by_group`, "" drops one."""
    table = part_scores(values)
    scores = {f"{m}_{p}": v for p, m, v in table[["part", "metric", "value"]].itertuples(index=False)}
    for part, rows in table.groupby("part"):
        scores |= {f"cases_{part}": rows["cases"].iloc[0], f"values_{part}": rows["n"].iloc[0]}
    found = {pooled: {f"{prefix}{key}": float(v) for key, v in scores.items()}}
    each = coverage_by_group(values)
    for place, name in enumerate(homes):
        rows = each[each["home"] == place]
        if name and len(rows):
            own = {f"{prefix}{m}_{p}": float(v) for p, m, v in rows[["part", "metric", "value"]].itertuples(index=False)}
            found[name] = own | ({f"{prefix}share": float(rows["share"].iloc[0])} if prefix else {})
    return found

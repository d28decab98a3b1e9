"""What a land cell without a predictor's value gets: an error, nothing, its nearest neighbour's value or a stated one."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.spatial import cKDTree

from dualflux.errors import InputError
from dualflux.geometry.sphere import unit_vectors
from dualflux.grid import LandCells


class FillValue(BaseModel):
    """A stated value for missing ones, in the study's unit: ``{value: 0}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float


MissingRule = Literal["error", "drop", "nearest"] | FillValue


def fill_missing(values: np.ndarray, rule: MissingRule, cells: LandCells, what: str) -> tuple[np.ndarray, float, np.ndarray]:
    """Apply a rule for missing values.

    Parameters
    ----------
    values : array, (..., cell)
        NaN where missing; changed in place.
    rule : "error", "drop", "nearest" or FillValue
        ``nearest``: the nearest land cell on the sphere that has a value in the same step.
    cells : LandCells
    what : str
        File, variable and predictor, for messages.

    Returns
    -------
    values : array, (..., cell)
    filled_share : float
        Share of the land area (mean over the leading dimensions) that got a value here.
    dropped : array of bool, (cell,)
        Cells with a missing value, under rule ``drop``.

    Raises
    ------
    InputError
        Missing values under ``error``; a step without any value under ``nearest``.
    """
    flat = values.reshape(-1, values.shape[-1])
    gap = ~np.isfinite(flat)
    none = np.zeros(flat.shape[1], dtype=bool)
    if not gap.any():
        return values, 0.0, none
    if rule == "drop":
        return values, 0.0, gap.any(axis=0)
    if rule == "error":
        raise InputError(_count(gap, cells, what))
    share = float((gap @ cells.land_area).mean() / cells.land_area.sum())
    if isinstance(rule, FillValue):
        flat[gap] = rule.value
    else:
        _take_nearest(flat, gap, cells, what)
    return flat.reshape(values.shape), share, none


def _count(gap: np.ndarray, cells: LandCells, what: str) -> str:
    ever = gap.any(axis=0)
    area = 100 * cells.land_area[ever].sum() / cells.land_area.sum()
    when = f" in at least one of {len(gap)} steps or classes" if len(gap) > 1 else ""
    return (
        f"{what}: {int(ever.sum())} of {ever.size} land cells ({area:.1f} % of the land area) have no value{when}; "
        "state `missing: nearest`, `missing: drop` or `missing: {value: x}`"
    )


def _take_nearest(flat: np.ndarray, gap: np.ndarray, cells: LandCells, what: str) -> None:
    empty = gap.all(axis=1)
    if empty.any():
        raise InputError(
            f"{what}: {int(empty.sum())} of {len(gap)} steps have no value in any land cell; `missing: nearest` cannot fill them"
        )
    points = unit_vectors(cells.lat(), cells.lon())
    known: np.ndarray | None = None
    donor = np.arange(flat.shape[1])
    for row, missing in zip(flat, gap, strict=True):
        if not missing.any():
            continue
        if known is None or not np.array_equal(known, ~missing):
            known = ~missing
            donor = np.flatnonzero(known)[cKDTree(points[known]).query(points[missing])[1]]
        row[missing] = row[donor]

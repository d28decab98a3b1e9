"""From what inversions see to what towers see: terms to subtract, and the target they make."""

from dualflux.sources.adjustments.target import Target, TargetKind, check_target, make_target, sanity_lines
from dualflux.sources.adjustments.terms import Adjustment, AdjustmentSettings, GriddedAdjustment, TableAdjustment, read_adjustments

__all__ = [
    "Adjustment",
    "AdjustmentSettings",
    "GriddedAdjustment",
    "TableAdjustment",
    "Target",
    "TargetKind",
    "check_target",
    "make_target",
    "read_adjustments",
    "sanity_lines",
]

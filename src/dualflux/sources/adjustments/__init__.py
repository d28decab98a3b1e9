"""From what inversions see to what towers see: terms to subtract, and the target they make."""

from dualflux.sources.adjustments.sanity import plausibility_line, sanity_lines
from dualflux.sources.adjustments.settings import AdjustmentSettings, GriddedAdjustment, TableAdjustment
from dualflux.sources.adjustments.target import Target, TargetKind, check_target, make_target
from dualflux.sources.adjustments.terms import Adjustment, read_adjustments

__all__ = [
    "Adjustment",
    "AdjustmentSettings",
    "GriddedAdjustment",
    "TableAdjustment",
    "Target",
    "TargetKind",
    "check_target",
    "make_target",
    "plausibility_line",
    "read_adjustments",
    "sanity_lines",
]

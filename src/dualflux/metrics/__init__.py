"""Comparing products with towers, inversions and each other: chunks -> additive statistics -> tidy tables."""

from dualflux.metrics.classes import class_table, distance_class, distance_to_training
from dualflux.metrics.diagrams import taylor_table
from dualflux.metrics.paired import Difference, centred_nse, difference_table, paired_difference
from dualflux.metrics.parts import part_scores, part_values, split_months
from dualflux.metrics.probability import crps_ensemble, crps_gaussian, interval_coverage, interval_coverage_gaussian, probability_summary
from dualflux.metrics.regions import annual_table, complete_annual, cycle_table, mean_cycle, regional_summary
from dualflux.metrics.sites import site_metrics
from dualflux.metrics.statistics import METRICS, PairStatistics

__all__ = [
    "METRICS",
    "Difference",
    "PairStatistics",
    "annual_table",
    "centred_nse",
    "class_table",
    "complete_annual",
    "crps_ensemble",
    "crps_gaussian",
    "cycle_table",
    "difference_table",
    "distance_class",
    "distance_to_training",
    "interval_coverage",
    "interval_coverage_gaussian",
    "mean_cycle",
    "paired_difference",
    "part_scores",
    "part_values",
    "probability_summary",
    "regional_summary",
    "site_metrics",
    "split_months",
    "taylor_table",
]

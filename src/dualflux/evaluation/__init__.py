"""Comparing products with towers, inversions and each other: chunks -> additive statistics -> tidy tables."""

from dualflux.evaluation.classes import class_table, distance_class, distance_to_training
from dualflux.evaluation.diagrams import reliability_table, taylor_table
from dualflux.evaluation.paired import Difference, centred_nse, difference_table, paired_difference
from dualflux.evaluation.probability import crps_ensemble, crps_gaussian, interval_coverage, interval_coverage_gaussian, probability_summary
from dualflux.evaluation.regions import VARIANTS, annual_table, complete_annual, cycle_table, mean_cycle, regional_summary
from dualflux.evaluation.sites import site_metrics
from dualflux.evaluation.statistics import METRICS, PairStatistics

__all__ = [
    "METRICS",
    "VARIANTS",
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
    "probability_summary",
    "regional_summary",
    "reliability_table",
    "site_metrics",
    "taylor_table",
]

"""Comparing products with towers, inversions and each other: chunks -> additive statistics -> tidy tables."""

from dualflux.evaluation.probability import crps_ensemble, crps_gaussian, interval_coverage, interval_coverage_gaussian, probability_summary
from dualflux.evaluation.regions import VARIANTS, annual_table, complete_annual, cycle_table, mean_cycle, regional_summary
from dualflux.evaluation.sites import Difference, centred_nse, paired_difference, site_metrics
from dualflux.evaluation.statistics import METRICS, PairStatistics

__all__ = [
    "METRICS",
    "VARIANTS",
    "Difference",
    "PairStatistics",
    "annual_table",
    "centred_nse",
    "complete_annual",
    "crps_ensemble",
    "crps_gaussian",
    "cycle_table",
    "interval_coverage",
    "interval_coverage_gaussian",
    "mean_cycle",
    "paired_difference",
    "probability_summary",
    "regional_summary",
    "site_metrics",
]

"""From predictions to the tables of a study: towers, regions, what was left out, and the verdict."""

import pandas as pd

from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.evaluation.regional import chi_squares
from dualflux.evaluation.towers import tower_scores
from dualflux.metrics import probability_summary, regional_summary


def summary_table(
    regional: pd.DataFrame,
    predictions: pd.DataFrame,
    left_out: pd.DataFrame,
    constraint: RegionalConstraint | None,
    time_step: str,
    seed: int,
) -> pd.DataFrame:
    """The table `summary.csv`: everything a verdict needs, one number per row.

    Beside the regional metrics: `chi_square_*`, the misfit of a variant to the inversions per part, per degree of freedom
    and in units of one product's own variance (mean over products; a variant at their centre has about
    (n - 1) / n); `chi_square_target_*`, that to the ensemble mean; rows of region `towers`, scores at left-out
    towers; rows `left_out_*`.
    """
    tables = [regional_summary(regional, None if constraint is None else "target")]
    if constraint is not None:
        tables += [probability_summary(regional), pd.DataFrame(chi_squares(regional, constraint, list(constraint.regions)))]
    tables.append(pd.DataFrame(tower_scores(predictions, time_step, seed)))
    if len(left_out):
        metric = "left_out_" + left_out.experiment.str.removeprefix("without_") + "_" + left_out.metric
        tables.append(left_out.assign(metric=metric, unit="")[["product", "region", "metric", "value", "unit"]])
    return pd.concat([t for t in tables if len(t)], ignore_index=True)

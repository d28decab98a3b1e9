"""Year-to-year variability with the inversions' error in three parts, and with one variance for every month.

    python benchmarks/flat_errors.py --out flat_errors.json [--seeds 2]

Inversions differ most in what persists. A flat R (one variance, months and regions independent) takes their offsets and
cycles for scatter from month to month: means are trusted too much by the number of months, years too little. Trains `dual`
twice on synthetic worlds, everything else alike; records hold `seed`, `product` (`parts`, `flat`, `inversion_mean`, `oracle`)
and scores of annual fluxes against the truth, of the globe and of the tropical regions, in fitted and in unseen years
(ending `_unseen_years`), with the errors of means and cycles beside them.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import sensitivity
import twin_seeds

from dualflux.constraints.inversions.covariance import independent
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.prepared import load
from dualflux.run_folder.files import write_atomically
from dualflux.stages import evaluate as scoring
from dualflux.stages import prepare as preparation
from dualflux.stages.observations import tower_constraint
from dualflux.twin.scoring.comparison import compare, compare_oracle, headline

SCORES = (
    "variability_r", "variability_sd_ratio", "tropical_variability_r", "tropical_variability_sd_ratio", "global_error",
    "region_annual_rmse", "region_cycle_rmse", "coverage_50", "coverage_90",
)  # fmt: skip
Record = dict[str, str | int | float | None]


def flat(constraint: RegionalConstraint) -> RegionalConstraint:
    """The same constraint whose R is the variance of a month about the ensemble mean, all months and regions independent."""
    error, years = constraint.error, len(constraint.years)
    offset, cycle, anomaly = error.marginals()
    variance = offset + np.einsum("rii->r", cycle) / 12 + np.einsum("rii->r", anomaly) / 12 * (1 - 1 / years)
    return replace(constraint, error=independent(variance / (12 * years), variance / years, variance), drawn=None)


def records(seed: int, folder: Path) -> list[Record]:
    """Of one world."""
    study = twin_seeds.make_study(seed, "default", folder)
    preparation.prepare(study, study.out / "prepared")
    prepared = load(study.out / "prepared")
    case = scoring.twin_case(study, prepared)
    changes: dict[str, sensitivity.Change] = {"parts": lambda constraint: constraint, "flat": flat}
    towers = tower_constraint(prepared)
    fitted = {name: sensitivity.fit_dual(study.settings, prepared, towers, change)[0] for name, change in changes.items()}
    tables = {name: compare_oracle(case, ensemble) for name, ensemble in fitted.items()}
    tables |= {"oracle": twin_seeds.oracle_scores(study), "inversion_mean": compare(case, {}, {})}
    named = {name: "inversion_mean" if name == "inversion_mean" else "oracle" for name in tables}
    return [{"seed": seed, "product": name, **headline(t, named[name], SCORES)} for name, t in tables.items()]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("flat_errors.json"))
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    found: list[Record] = []
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            found += records(seed, Path(folder))
        write_atomically(options.out, json.dumps(found, indent=1))
    table = pd.DataFrame(found)
    print(table.drop(columns="seed").groupby("product", sort=False).mean().T.round(3).to_string())


if __name__ == "__main__":
    main()

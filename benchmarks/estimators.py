"""The three ways to evaluate regional integrals on a synthetic world: training time against what they reach.

    python benchmarks/estimators.py --out estimators.json [--quick] [--seed 1]

Trains a few members of `dual` with the same steps through each estimator, `exact` first, then several numbers of locations
of `representative` and `stratified`, and scores each against the truth. A record holds `estimator`, `locations` (per region),
`locations_share` (cells evaluated in a step over all cells), `seed`, `resolution`, `members`, `steps`, `train_seconds` (all of it:
choice of locations, compilation, closing step), `final_heldout_loss` (of the chosen checkpoint: negative log density per effective datum of
inner validation sites), `region_annual_rmse` [PgC yr-1], `region_cycle_rmse` [PgC month-1] and `cell_month_nse` against the truth.

The closing step evaluates every cell exactly, whatever the estimator, and sets regional means and amplitudes: the scores are
those of the finished method. What training alone reached stands in the same scores with the ending `_before_closing`;
`closing_seconds` is the closing step's part of `train_seconds`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.observations import InversionTermSettings, constraint_maker
from dualflux.cube import DeviceCube
from dualflux.fitting.ensembles import ALL_SITES, Run, stack_members
from dualflux.fitting.fit_ensembles import Trained, build_objective, draw_members, landscape_of, linear_step, train_members
from dualflux.model.ensemble import Ensemble
from dualflux.prepared import Prepared, load
from dualflux.run_folder.files import write_atomically
from dualflux.stages import evaluate as scoring
from dualflux.stages import prepare as preparation
from dualflux.stages.observations import tower_constraint
from dualflux.study.settings import Study, load_study
from dualflux.twin import WorldSettings, build_world, write_world
from dualflux.twin.scoring.comparison import compare_oracle, headline
from dualflux.variants import VARIANTS

MEMBERS = 3
YEARS = 3  # drawn per step
SCORES = ("region_annual_rmse", "region_cycle_rmse", "cell_month_nse")
Record = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Size:
    """How large the benchmark is.

    Attributes
    ----------
    shares : tuple of float
        Of the cells that `representative` uses.
    drawn : tuple of int
        Locations per region and sample of `stratified`.
    """

    resolution: float
    end: date
    steps: int
    shares: tuple[float, ...]
    drawn: tuple[int, ...]


FULL = Size(1.0, date(2006, 12, 31), 300, (0.0125, 0.025, 0.049, 0.1), (2, 4, 8, 16))
QUICK = Size(4.0, date(2004, 12, 31), 50, (0.1,), (4,))


def make_study(size: Size, seed: int, folder: Path) -> Study:
    """Build the world and read it; the last year is not fitted."""
    world = build_world(WorldSettings(seed=seed, resolution=size.resolution, end=size.end))
    options = {"fit_period": [date(2001, 1, 1), date(size.end.year - 1, 12, 31)], "truth": "truth"}
    options["training"] = {"steps": size.steps, "checkpoints": 5}  # type: ignore[assignment]
    file = write_world(world, folder / "world", **options)
    del world
    study = load_study(file, out=folder / "run")
    preparation.prepare(study, study.out / "prepared")
    return study


def terms(size: Size, cells: int, regions: int) -> Iterator[tuple[InversionTermSettings, float]]:
    """Every estimator to try, and the share of cells that it evaluates in a step."""
    yield InversionTermSettings(estimator="exact", weight=1.0), 1.0
    for share in size.shares:
        count = max(2, round(share * cells / regions))
        yield InversionTermSettings(estimator="representative", weight=1.0, locations=count, years=YEARS), count * regions / cells
    for count in size.drawn:
        term = InversionTermSettings(estimator="stratified", weight=1.0, locations=count, years=YEARS)
        yield term, 2 * count * regions / cells


def record(study: Study, prepared: Prepared, term: InversionTermSettings, share: float) -> Record:
    """Train through one estimator and score."""
    s, cube, cells = study.settings, prepared.cube, prepared.cells
    towers = tower_constraint(prepared)
    regional = constraint_maker(prepared.target, cube, cells, term, s.fitted)(None, None)
    run, device = Run("", "dual", VARIANTS["dual"], (ALL_SITES,), MEMBERS), DeviceCube.of(cube)
    begin = time.monotonic()
    objective = build_objective(towers, regional, cube, device, cells, s.network, s.tower_term, term, s.training, s.seed, prepared.library)
    stack = stack_members(objective.constraints, [run], s.tower_term, [{}], s.seed)
    linear = linear_step(objective, stack, landscape_of(cube, cells, s.spatial_term), device, s.spatial_term)
    structure = objective["inversions"].in_training()
    if structure is not None:
        share = len(structure.locations.cell) / len(cells.index)
    trained = train_members(objective, stack, linear, s.network, s.training)
    closing = time.monotonic()
    fitted = draw_members(trained, stack, linear, s.network)
    end = time.monotonic()
    closed = fitted.ensembles["", "dual"]
    loss = float(fitted.history.validation_loss[fitted.history.chosen].iloc[0])
    about = {"estimator": term.estimator, "locations": term.locations if term.estimator != "exact" else None, "locations_share": share}
    size = {"seed": s.seed, "resolution": s.grid.resolution, "members": MEMBERS, "steps": s.training.steps}
    seconds = {"train_seconds": end - begin, "closing_seconds": end - closing}
    before = scores(study, prepared, before_closing(trained, closed))
    after = scores(study, prepared, closed)
    return {**about, **size, **seconds, "final_heldout_loss": loss, **after, **{f"{k}_before_closing": v for k, v in before.items()}}


def scores(study: Study, prepared: Prepared, ensemble: Ensemble) -> dict[str, float | None]:
    """Against the truth, of the fitted years."""
    return {
        k: v for k, v in headline(compare_oracle(scoring.twin_case(study, prepared), ensemble), "oracle", SCORES).items() if k in SCORES
    }


def before_closing(trained: Trained, closed: Ensemble) -> Ensemble:
    """The ensemble as training left it; its spatial effect is zero."""
    return replace(closed, model=replace(trained.model, spatial=np.zeros_like(closed.model.spatial)))


def against_exact(records: list[Record]) -> pd.DataFrame:
    """Time over that of `exact`, and how much worse each score is [% of the exact one's; NSE as 1 - NSE]."""
    table = pd.DataFrame(records)
    error = table[list(SCORES)].assign(cell_month_nse=1 - table.cell_month_nse)
    exact = table.estimator == "exact"
    worse = 100 * (error / error[exact].iloc[0] - 1)
    time_ratio = (table.train_seconds / table.train_seconds[exact].iloc[0]).rename("time_ratio")
    return pd.concat([table[["estimator", "locations", "locations_share"]], time_ratio, worse.add_suffix("_worse")], axis=1)


def targets(found: pd.DataFrame) -> list[str]:
    """Whether each estimator reaches what it must, in a fifth of the time of `exact`."""
    lines = []
    for name, allowed, most in (("stratified", 10.0, np.inf), ("representative", 20.0, 0.05)):
        mine = found[(found.estimator == name) & (found.time_ratio <= 0.2) & (found.locations_share <= most)]
        worst = mine[[f"{c}_worse" for c in SCORES]].max(axis=1)
        best = f"at best {worst.min():.1f} %" if len(mine) else "none within a fifth of the time"
        lines.append(f"{name}: scores within {allowed:.0f} % of exact: {'yes' if (worst <= allowed).any() else 'NO'} ({best})")
    return lines


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("estimators.json"))
    parser.add_argument("--quick", action="store_true", help="4 degrees and few steps: whether it runs, not what it shows")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(size, options.seed, Path(folder))
        prepared = load(study.out / "prepared")
        for term, share in terms(size, len(prepared.cells.index), len(prepared.cells.region_names)):
            records.append(record(study, prepared, term, share))
            write_atomically(options.out, json.dumps(records, indent=1))
            print(records[-1], flush=True)
    found = against_exact(records)
    print(f"\n{found.round(3).to_string(index=False)}\n", *targets(found), sep="\n")


if __name__ == "__main__":
    main()

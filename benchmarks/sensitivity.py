"""How much a study's answers hang on each prior choice: one table, one row per choice.

    python benchmarks/sensitivity.py STUDY.yaml --out sensitivity.csv [--members 2] [--steps 300] [--data-root DIR]

Fits `dual` again and again, each time with one choice changed, with few members. Columns: `choice`; `mean_annual_REGION` and
its sd over members, `mean_annual_sd_REGION` [PgC yr-1]; `cycle_amplitude_REGION` [PgC month-1], highest less lowest month of the
mean year; `cycle_rmse_REGION` against the inversions' mean [PgC month-1], means removed; scores of left-out towers, `nse_pooled` and
`nse_median` of f + g and `nse_pooled_landscape` of f alone; `inversion_weight`, `train_seconds`. The region `global` is the sum
of all land. Fluxes are of the fitted years.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualflux.constraints.inversions import ensemble_mean, mean_error, own_error, spread
from dualflux.constraints.inversions.observations import HoldoutSettings, Maker, RegionalConstraint, constraint_maker
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.cube import DeviceCube
from dualflux.fitting import linear_posterior
from dualflux.fitting.ensembles import plan_runs, stack_members
from dualflux.fitting.fit_ensembles import build_objective, landscape_of, train_all
from dualflux.metrics import site_metrics
from dualflux.metrics.pairs import paired_std
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.at_towers import tower_predictions
from dualflux.prediction.engine import integrate_month, stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prepared import Prepared, load
from dualflux.stages import prepare as preparation
from dualflux.stages.observations import tower_constraint
from dualflux.stages.train import prior_facts, weight_and_priors
from dualflux.study.settings import Study, StudySettings, load_study
from dualflux.variants import VARIANTS

Change = Callable[[RegionalConstraint], RegionalConstraint]


@dataclass(frozen=True)
class Choice:
    """One row: settings that differ from the base's, and a factor on the towers' error.

    Attributes
    ----------
    changed : dict
        Part of the study file to the keys that are changed in it.
    uncertainty : float
        Factor on the towers' uncertainty as their files give it.
    constants : dict
        Factors on priors that no setting states, by the place in `CONSTANTS`.
    """

    name: str
    changed: dict[str, dict[str, Any]]
    uncertainty: float = 1.0
    constants: dict[str, float] = field(default_factory=dict)


CONSTANTS = {  # priors set by hand that no setting states
    "sd of g's intercept": (linear_posterior, "INTERCEPT_SD"),
    "weight of the stated sd of u against its estimate": (linear_posterior, "PRIOR_SHARE"),
    "sd of the common share k": (mean_error, "COMMON_SHARE_SD"),
    "degrees of freedom of the prior of R": (own_error, "PRIOR_DEGREES_OF_FREEDOM"),
    "degrees of freedom of independent regions in R": (own_error, "TOTAL_PRIOR_DEGREES_OF_FREEDOM"),
    "years of the prior of a product's own cycle": (ensemble_mean, "CYCLE_PRIOR_YEARS"),
    "degrees of freedom of equal months in R": (spread, "SEASON_PRIOR_DEGREES_OF_FREEDOM"),
}


@contextmanager
def changed_constants(factors: dict[str, float]) -> Iterator[None]:
    """Constants of `CONSTANTS` times a factor, for as long as it lasts."""
    before = {name: getattr(*CONSTANTS[name]) for name in factors}
    try:
        for name, factor in factors.items():
            setattr(*CONSTANTS[name], factor * before[name])
        yield
    finally:
        for name, value in before.items():
            setattr(*CONSTANTS[name], value)


def choices(base: StudySettings) -> Iterator[Choice]:
    """The base, then one change at a time."""
    inversion, network = base.inversion_term, base.network
    yield Choice("base", {})
    for factor in (1 / 3, 3.0):
        yield Choice(f"inversion weight x {factor:.2g}", {"inversion_term": {"weight": factor * float(inversion.weight)}})
    for factor in (0.0, 2.0):
        yield Choice(f"tower uncertainty of the files x {factor:.2g}", {}, uncertainty=factor)
    for freedom in (2.5, 8.0, 30.0):  # half of 4 would be an error without a variance
        yield Choice(f"degrees of freedom of the tower error {freedom:g}", {"tower_term": {"degrees_of_freedom": freedom}})
    yield from priors(base)
    yield Choice("site effects off", {"tower_term": {"site_effects": False}})
    yield Choice("g off", {"tower_term": {"representativeness": False}})
    kind = "centred" if inversion.spread == "exchangeable" else "exchangeable"
    yield Choice(f"spread {kind}", {"inversion_term": {"spread": kind}})
    # `exact` would take an hour at 1 degree: see `estimators.py`.
    other = "stratified" if inversion.estimator == "representative" else "representative"
    yield Choice(f"estimator {other}", {"inversion_term": {"estimator": other, "library": [], "error_target": None}})
    for factor in (0.5, 2.0):
        locations = max(2, round(factor * inversion.locations))
        yield Choice(f"{locations} locations", {"inversion_term": {"locations": locations}})
    yield Choice(f"{2 * network.members} members", {"network": {"members": 2 * network.members}})


def priors(base: StudySettings) -> Iterator[Choice]:
    """Each prior at half and twice what it is."""
    tower, spatial, training = base.tower_term, base.spatial_term, base.training
    stated: dict[str, tuple[str, dict[str, Any]]] = {
        "prior sd of g's slopes": ("tower_term", {"representativeness_sd": tower.representativeness_sd}),
        "lasting sd of the spatial effect": ("spatial_term", {"mean_sd": spatial.mean_sd}),
        "seasonal sd of the spatial effect": ("spatial_term", {"season_sd": spatial.season_sd}),
        "prior sd of network weights": ("training", {"weight_sd": training.weight_sd}),
        "prior sd of readout weights": ("training", {"readout_sd": training.readout_sd}),
    }
    for factor in (0.5, 2.0):
        for name, (part, keys) in stated.items():
            yield Choice(f"{name} x {factor:g}", {part: {key: factor * float(value) for key, value in keys.items()}})
        for name in CONSTANTS:
            yield Choice(f"{name} x {factor:g}", {}, constants={name: factor})


def changed_settings(base: StudySettings, choice: Choice) -> StudySettings:
    """The base with a choice made; checked like a study file."""
    values = base.model_dump(mode="json")
    for part, keys in choice.changed.items():
        values[part] = {**values[part], **keys}
    return StudySettings.model_validate(values)


def changed_towers(towers: TowerConstraint, choice: Choice) -> TowerConstraint:
    """The towers with other errors."""
    return replace(towers, uncertainty=(towers.uncertainty * choice.uncertainty).astype(np.float32))


def fit_dual(
    settings: StudySettings, prepared: Prepared, towers: TowerConstraint, change: Change = lambda constraint: constraint
) -> tuple[Ensemble, float]:
    """Train `dual` as `dualflux train` does, perhaps with a changed regional constraint; and the inversions' weight."""
    s, cube, cells = settings, prepared.cube, prepared.cells
    plain = constraint_maker(prepared.target, cube, cells, s.inversion_term, s.fitted)
    make: Maker = lambda *left_out, **more: change(plain(*left_out, **more))  # noqa: E731
    device, dual = DeviceCube.of(cube), {"dual": VARIANTS["dual"]}
    objective = build_objective(
        towers, make(None, None), cube, device, cells, s.network, s.tower_term, s.inversion_term, s.training, s.seed, prepared.library
    )
    landscape = landscape_of(cube, cells, s.spatial_term)
    found = weight_and_priors(s, objective, make, landscape, device, None)
    runs = [replace(run, priors=found.priors) for run in plan_runs(dual, s.network, HoldoutSettings(), make)]
    stack = stack_members(objective.constraints, runs, s.tower_term, [{"inversions": found.weight}], s.seed)
    fitted = train_all(objective, stack, landscape, device, s.network, s.training, s.spatial_term)
    return fitted.ensembles["", "dual"], found.weight


def regional_members(ensemble: Ensemble, prepared: Prepared) -> np.ndarray:
    """Integrals (member, month, region + 1) [PgC month-1]."""
    cells, days = prepared.cells, prepared.cube.steps.month_days
    place = ensemble.basis.at(cells.lat(), cells.lon())
    months = monthly_fluxes(stack_ensembles([ensemble]), prepared.cube, place, (cells.lat(), cells.lon()))
    return np.stack([integrate_month(m.landscape, cells, days[m.month]) for m in months], axis=1)


def regional_columns(ensemble: Ensemble, settings: StudySettings, prepared: Prepared) -> dict[str, float]:
    """Mean annual fluxes and seasonal cycles of the fitted years."""
    regional = constraint_maker(prepared.target, prepared.cube, prepared.cells, settings.inversion_term, settings.fitted)(None, None)
    values = regional_members(ensemble, prepared)[:, regional.month]  # (member, year, 12, region + 1)
    annual, cycle = values.sum(axis=2).mean(axis=1), values.mean(axis=(0, 1))
    target = regional.observed.mean(axis=1)
    target = np.concatenate([target, target.sum(axis=0, keepdims=True)]).T
    error = (cycle - cycle.mean(axis=0)) - (target - target.mean(axis=0))
    columns = {
        "mean_annual": annual.mean(axis=0), "mean_annual_sd": paired_std(annual),
        "cycle_amplitude": np.ptp(cycle, axis=0), "cycle_rmse": np.sqrt((error**2).mean(axis=0)),
    }  # fmt: skip
    names = ["global", *prepared.cells.region_names]
    order = [len(names) - 1, *range(len(names) - 1)]
    return {f"{key}_{name}": float(v[i]) for key, v in columns.items() for name, i in zip(names, order, strict=True)}


def tower_columns(ensemble: Ensemble, settings: StudySettings, prepared: Prepared) -> dict[str, float]:
    """Scores of left-out towers."""
    table = site_metrics(tower_predictions({"dual": ensemble}, prepared), settings.time_step)
    nse = table[(table.metric == "nse") & (table.scale == settings.time_step)]
    wanted = {
        "nse_pooled": ("tower_like", "pooled"),
        "nse_median": ("tower_like", "median"),
        "nse_pooled_landscape": ("landscape", "pooled"),
    }
    return {name: float(nse.value[(nse.prediction == p) & (nse.site == s)].iloc[0]) for name, (p, s) in wanted.items()}


def row(settings: StudySettings, choice: Choice, prepared: Prepared, towers: TowerConstraint) -> dict[str, str | float]:
    """Fit one choice and say what it gives."""
    begin, own = time.monotonic(), changed_settings(settings, choice)
    with changed_constants(choice.constants):
        ensemble, weight = fit_dual(own, prepared, changed_towers(towers, choice))
    seconds = time.monotonic() - begin
    found = {**regional_columns(ensemble, own, prepared), **tower_columns(ensemble, own, prepared)}
    return {"choice": choice.name, **found, "inversion_weight": weight, "train_seconds": seconds}


def base_settings(study: Study, members: int, steps: int | None) -> StudySettings:
    """The study's settings with few members and, where asked, fewer steps."""
    training = {} if steps is None else {"training": {"steps": steps}}
    return changed_settings(study.settings, Choice("", {"network": {"members": members}, **training}))


def with_stated_weight(settings: StudySettings, prepared: Prepared, towers: TowerConstraint) -> StudySettings:
    """What `auto` stands for is chosen once, so that all rows but its own share it."""
    s = settings
    make = constraint_maker(prepared.target, prepared.cube, prepared.cells, s.inversion_term, s.fitted)
    device = DeviceCube.of(prepared.cube)
    objective = build_objective(
        towers, make(None, None), prepared.cube, device, prepared.cells, s.network, s.tower_term, s.inversion_term, s.training, s.seed,
        prepared.library,
    )  # fmt: skip
    found = weight_and_priors(s, objective, make, landscape_of(prepared.cube, prepared.cells, s.spatial_term), device, None)
    return changed_settings(s, Choice("", {"inversion_term": {"weight": found.weight}, "training": prior_facts(found, s.training)}))


def prepare(study: Study) -> Prepared:
    """What the study's run folder has, or is given now."""
    folder = study.out / "prepared"
    if not (folder / "about.json").exists():
        preparation.prepare(study, folder)
    return load(folder)


def sensitivity(study: Study, members: int, steps: int | None) -> Iterator[dict[str, str | float]]:
    """Rows of the table, the base first."""
    prepared = prepare(study)
    towers = tower_constraint(prepared)
    base = with_stated_weight(base_settings(study, members, steps), prepared, towers)
    for choice in choices(base):
        yield row(base, choice, prepared, towers)


def options_of(text: str | None, out: str) -> argparse.Namespace:
    """What the command line says: study, out, members, steps, data_root."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--members", type=int, default=2, help="per fold")
    parser.add_argument("--steps", type=int, help="of training; default: the study's")
    parser.add_argument("--data-root", type=Path)
    return parser.parse_args()


def write_rows(found: Iterable[dict[str, str | float]], name: str, out: Path) -> None:
    """Write and print; the table so far is on disk after every row."""
    rows: list[dict[str, str | float]] = []
    for row in found:
        rows.append(row)
        pd.DataFrame(rows).to_csv(out, index=False)
        skill = f"left-out NSE of f + g {row['nse_pooled']:.3f}, of f {row['nse_pooled_landscape']:.3f}"
        print(f"{row[name]}: global {row['mean_annual_global']:.2f} PgC/yr, {skill}", flush=True)


def main() -> None:
    """Run and write."""
    options = options_of(__doc__, "sensitivity.csv")
    study = load_study(options.study, data_root=options.data_root)
    write_rows(sensitivity(study, options.members, options.steps), "choice", options.out)


if __name__ == "__main__":
    main()

"""A study from files to report: the stages, in order, as a methods section would tell them."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from rich.console import Console

from dualflux import __version__, predict, preparation
from dualflux.check import check_study
from dualflux.checkpoint import Checkpoint
from dualflux.constraints import TowerConstraint, from_towers
from dualflux.errors import Problems
from dualflux.experiments import build_objective, train_all
from dualflux.independent import TABLES
from dualflux.model_folder import load_models, read_tower_predictions, save_models
from dualflux.preparation import Prepared
from dualflux.products import ProductWriter, members_to_write
from dualflux.progress import progress_bar, progress_display
from dualflux.report import study_notes, write_report
from dualflux.representative import structure_table
from dualflux.results import read_summary, verdict_table, verdict_text
from dualflux.runs import constraint_maker, plan_runs, stack_members
from dualflux.scoring import LEFT_OUT_TABLES, evaluate
from dualflux.stages import MARKERS, RunFolder, Stage, digest, is_done, states, write_atomically
from dualflux.study import Study, load_study
from dualflux.twin import WorldSettings, build_world, write_world
from dualflux.upscaling import applicability, cell_scale_variance, integrate_month, monthly_fluxes, stack_ensembles
from dualflux.weighting import choose_weight

STAGES = ("prepare", "train", "upscale", "evaluate", "report")
TRAININGS = ("weight", "networks")  # inside the stage train, each with its checkpoint
CITATIONS = (
    "Upton, S., et al. (2024): Constraining biospheric carbon dioxide fluxes by combined top-down and bottom-up approaches, "
    "Atmos. Chem. Phys. 24, 2555-2582, doi:10.5194/acp-24-2555-2024",
)


def run(study: Study, out: Path, stages: list[str] | None = None) -> None:
    """Run the stages that are not done; with `stages` only those (and what they need)."""
    console = Console(stderr=True)
    refuse_wrong_input(study, out)
    wanted = STAGES if stages is None else STAGES[: max(STAGES.index(s) for s in stages) + 1]
    plan = stage_plan(study)
    actions: dict[str, Callable[[], None]] = {
        "prepare": lambda: preparation.prepare(study, out / "prepared"),
        "train": lambda: train(study, out, console, say),
        "upscale": lambda: upscale(study, out),
        "evaluate": lambda: evaluate(study, out),
        "report": lambda: report(study, out),
    }

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with RunFolder(out, study.settings.seed, CITATIONS, say) as folder:
        write_atomically(out / "study.yaml", study.to_yaml())
        for stage in plan:
            if stage.name in wanted:
                folder.stage(stage, actions[stage.name])
                if stage.name == "prepare":
                    folder.cite(preparation.tower_citations(out / "prepared"))
                if stage.name == "train":
                    for name in TRAININGS:
                        training_checkpoint(study, out, name, say).remove()
    if "evaluate" in wanted:
        print(verdict_text(verdict_table(read_summary(out / "tables/summary.csv"))))
    if "report" in wanted:
        print(f"\nreport: {out / 'report.html'}")


def refuse_wrong_input(study: Study, out: Path) -> None:
    """Raise what `check` finds, all at once and before the first stage; inputs that were prepared and are as they were have passed."""
    missing = Problems()
    with missing.collect():
        if is_done(out, stage_plan(study)[0]):
            return
    check_study(study).raise_if_wrong()
    missing.raise_if_any()


def stage_plan(study: Study) -> list[Stage]:
    """What each stage depends on and writes."""
    s = study.settings
    tables = [
        f"tables/{name}.csv"
        for name in ("regional_monthly", "site_metrics", "site_representativeness", "summary", "land", *LEFT_OUT_TABLES, *TABLES)
    ]
    sources = ("period", "fit_period", "time_step", "grid", "seed", "towers", "predictors", "land_fraction", "regions", "no_flux",
               "inversions", "target", "adjustments", "references")  # fmt: skip
    fitting = ("network", "spatial_term", "tower_term", "inversion_term", "training", "variants", "holdout", "fit_period", "seed")
    scoring = ("variants", "holdout", "truth", "independent", "figure_regions")
    return [
        Stage(
            "prepare",
            {**study.part(*sources), "folds": s.network.folds, "library": s.inversion_term.library},
            study.input_files(),
            ["prepared"],
        ),
        Stage("train", study.part(*fitting), (), ["models"], ["prepare"]),
        Stage("upscale", study.part("variants", "name"), (), ["products", "tables/regional_members.csv"], ["prepare", "train"]),
        Stage("evaluate", study.part(*scoring), scored_files(study), tables, ["prepare", "train", "upscale"]),
        Stage("report", study.part("name"), (), ["figures", "report.html"], ["prepare", "train", "upscale", "evaluate"]),
    ]


def scored_files(study: Study) -> list[Path]:
    """Files that only the evaluation reads: independent estimates and a synthetic world's truth."""
    s = study.settings
    return [*dict.fromkeys(study.root / b.path for b in s.independent), *([] if s.truth is None else [study.root / s.truth])]


def tower_constraint(study: Study, prepared: Prepared) -> TowerConstraint:
    """Towers with the effective number of their data."""
    fold = prepared.sites.fold.to_numpy()
    return from_towers(prepared.rows, prepared.observations, prepared.sites, study.settings.time_step, fold)[0]


def training_checkpoint(study: Study, out: Path, name: str, say: Callable[[str], None]) -> Checkpoint:
    """Where an interrupted training goes on from; other kinds of device differ in the last digits."""
    stage = next(stage for stage in stage_plan(study) if stage.name == "train")
    return Checkpoint(out / MARKERS / f"{name}.checkpoint", f"{digest(out, stage)} {jax.devices()[0].device_kind}", say)


def train(study: Study, out: Path, console: Console, say: Callable[[str], None]) -> None:
    """Fit every ensemble in one program and predict left-out towers."""
    s, prepared = study.settings, preparation.load(out / "prepared")
    towers = tower_constraint(study, prepared)
    make = constraint_maker(prepared.target, prepared.cube, prepared.cells, s.inversion_term, s.fitted)
    regional = make(None, None)
    objective = build_objective(
        towers, regional, prepared.cube, prepared.cells, s.network, s.tower_term, s.inversion_term, s.training, s.seed, prepared.library
    )
    for_weight, for_networks = (training_checkpoint(study, out, name, say) for name in TRAININGS)
    weight, trial = choose_weight(
        objective, towers, make, s.network, s.tower_term, s.inversion_term, s.training, prepared.cube, s.seed, for_weight
    )
    runs = plan_runs(list(s.variants), s.network, s.holdout, make)
    stack = stack_members(runs, regional.years, towers, s.tower_term, weight, s.seed)
    with progress_bar(console, f"training {len(stack.table)} networks") as advance:
        fitted = train_all(
            objective, stack, towers, regional, prepared.cube, prepared.cells, s.network, s.training, s.spatial_term, advance, for_networks
        )
    save_models(out / "models", fitted, prepared, {"inversion_weight": weight, "effective_observations": float(towers.weight.sum())})
    trial.to_csv(out / "models/weight.csv", index=False)
    structure = objective.regions.structure
    if structure is not None:
        structure_table(structure, prepared.cells.region_names).to_csv(out / "models/structure.csv", index=False)


def upscale(study: Study, out: Path) -> None:
    """Predict all members month by month; write each variant's product and all members' regional integrals."""
    prepared = preparation.load(out / "prepared")
    own, left_out = load_models(out / "models")
    own = {v: own[v] for v in study.settings.variants}
    cells, steps = prepared.cells, prepared.cube.steps
    model = stack_ensembles([*own.values(), *left_out.values()])
    place = next(iter(own.values())).basis.at(cells.lat(), cells.lon())
    ends = np.cumsum([e.size for e in own.values()])
    similar = applicability(prepared.cube, prepared.sites.cell.to_numpy(), prepared.sites.fold.to_numpy())
    unseen = unseen_cell_variance(out, prepared)
    integrals = np.empty((sum(e.size for e in [*own.values(), *left_out.values()]), len(steps.months), len(cells.region_names) + 1))
    with ExitStack() as open_files:
        writers = {}
        for variant, ensemble in own.items():
            members = members_to_write(ensemble.size, cells.grid, len(steps.months))
            path = out / "products" / variant / "nee_monthly.nc"
            attrs = product_attributes(study, prepared, variant)
            writers[variant] = open_files.enter_context(
                ProductWriter(path, cells, steps.months, members, attrs, prepared.land_area, similar)
            )
        for month in monthly_fluxes(model, prepared.cube, place, (cells.lat(), cells.lon())):
            integrals[:, month.month] = integrate_month(month.landscape, cells, steps.month_days[month.month])
            for (variant, writer), end in zip(writers.items(), ends, strict=True):
                mine = slice(end - own[variant].size, end)
                writer.write(month.month, month.landscape[mine], month.tower_like[mine], np.full(len(cells.index), unseen[variant]))
    labels = [("", v, m) for v, e in own.items() for m in range(e.size)] + [
        (n, v, m) for (n, v), e in left_out.items() for m in range(e.size)
    ]
    write_members(out / "tables/regional_members.csv", labels, integrals, prepared)


def write_members(path: Path, labels: list[tuple[str, str, int]], integrals: np.ndarray, prepared: Prepared) -> None:
    """Long table run, variant, member, region, time, value of (member, month, region) integrals [PgC month-1]."""
    regions = [*prepared.cells.region_names, "global"]
    index = pd.MultiIndex.from_tuples(labels, names=["run", "variant", "member"])
    columns = pd.MultiIndex.from_product([prepared.cube.steps.months, regions], names=["time", "region"])
    wide = pd.DataFrame(integrals.reshape(len(labels), -1), index, columns)
    table = wide.melt(ignore_index=False, value_name="value").reset_index()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    table.to_csv(partial, index=False, date_format="%Y-%m-%d")
    partial.replace(path)


def unseen_cell_variance(out: Path, prepared: Prepared) -> dict[str, float]:
    """Variance of a cell's flux that no predictor sees, per variant, from the mean residuals of left-out towers."""
    predictions = read_tower_predictions(out / "models")
    found = {}
    for variant, rows in predictions.groupby("product"):
        residual = (rows.observed - rows.tower_like).groupby(rows.site).mean()
        found[str(variant)] = cell_scale_variance(residual, prepared.sites.cell)[1]
    return found


def product_attributes(study: Study, prepared: Prepared, variant: str) -> dict[str, str]:
    """What a product file says of itself."""
    missing = str(prepared.target.integral.attrs.get("missing_terms", ""))
    return {
        "title": f"dualflux net ecosystem exchange, variant {variant}, study {study.settings.name}",
        "source": f"network ensemble trained on {'towers and inversions' if variant in ('plain', 'dual') else variant}",
        "target": f"{prepared.target.kind}: {prepared.target.name}",
        "comment": f"Terms not accounted for: {missing}" if missing else "",
        "references": CITATIONS[0],
        "history": f"upscaled by dualflux {__version__}, study {study.settings.name}, seed {study.settings.seed}",
        "citation": "; ".join(CITATIONS) + "; and the towers, inversions and predictors that provenance.json of the run lists",
        "region_names": " ".join(prepared.cells.region_names),
    }


def report(study: Study, out: Path) -> None:
    """Draw the figures and write report.html from what is in the folder."""
    write_report(out, study.resolved(), verdict_table(read_summary(out / "tables/summary.csv")), study_notes(out))


def predict_elsewhere(study: Study, out: Path, **options: Any) -> None:
    """Apply the run in `study.out` to another grid or period, see `dualflux.predict.predict`."""
    console = Console(stderr=True)
    with progress_display(console) as bar:

        def advance(text: str) -> Callable[[int, int], None]:
            task = bar.add_task(text, total=None)
            return lambda done, of: bar.update(task, completed=done, total=of)

        products = predict.predict(study, out, advance=advance, say=lambda line: console.print(line, markup=False), **options)
    print("\n".join(map(str, products)))


def check(study: Study) -> None:
    """Print what a run would use; raise with every problem."""
    found = check_study(study)
    print(found.text())
    found.raise_if_wrong()
    print("\nThe study can run.")


def demo(full: bool, out: Path) -> None:
    """Build a synthetic world with known truth in `out`/world, run a whole study on it and print the verdict."""
    settings = WorldSettings(resolution=2.0 if full else 4.0, time_step="daily" if full else "monthly")
    file = write_world(build_world(settings), out / "world", **demo_options(full))
    run(load_study(file, out=out), out)


def demo_options(full: bool) -> dict[str, object]:
    """What the demo's study file says beyond its sources: fitted to 2001-2012, the years after are never seen."""
    return {
        "name": "demo_full" if full else "demo",
        "fit_period": [date(2001, 1, 1), date(2012, 12, 31)],
        "network": {"members": 4, "folds": 5 if full else 3},
        "inversion_term": {"estimator": "stratified", "locations": 4, "years": 3, "weight": 1.0},
        "training": {"steps": 600 if full else 500, "learning_rate": 6e-3},
        "truth": "truth",
    }


def status(study: Study, out: Path) -> None:
    """Print which stages are done."""
    for name, reason in states(out, stage_plan(study)).items():
        print(f"{name}: {'done' if reason is None else reason}")

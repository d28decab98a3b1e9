"""A study from files to report: the stages, in order, as a methods section would tell them."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from dualflux.checking import check_study
from dualflux.errors import Problems
from dualflux.evaluation.verdict import read_summary, verdict_table, verdict_text
from dualflux.report import study_notes, write_report
from dualflux.run_folder.files import write_atomically
from dualflux.run_folder.progress import progress_display
from dualflux.run_folder.run_folder import CITATIONS, RunFolder, is_done, states
from dualflux.stages import predict_elsewhere as predict
from dualflux.stages import prepare as preparation
from dualflux.stages.evaluate import evaluate
from dualflux.stages.plan import STAGES, stage_plan
from dualflux.stages.train import TRAININGS, train, training_checkpoint
from dualflux.stages.upscale import upscale
from dualflux.study.settings import Study, load_study
from dualflux.twin import WorldSettings, build_world, write_world


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
                    for line in preparation.read_doubts(out / "prepared"):
                        say(f"doubt: {line}")
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


def report(study: Study, out: Path) -> None:
    """Draw the figures and write report.html from what is in the folder."""
    write_report(out, study.resolved(), verdict_table(read_summary(out / "tables/summary.csv")), study_notes(out))


def predict_elsewhere(study: Study, out: Path, **options: Any) -> None:
    """Apply the run in `study.out` to another grid or period, see `dualflux.stages.predict_elsewhere.predict`."""
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

"""A study from files to report: the stages, in order, as a methods section would tell them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from dualflux.checking import check_study
from dualflux.checking.resources import require_memory
from dualflux.errors import Problems, printable
from dualflux.evaluation.verdict import read_summary, verdict_table, verdict_text
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.run_folder.log import RunLog
from dualflux.run_folder.own_files import refuse_foreign, refuse_own
from dualflux.run_folder.progress import counted, progress_display
from dualflux.run_folder.pulse import Manner, pulse
from dualflux.run_folder.run_folder import CITATIONS, MARKERS, RunFolder, Stage, digest, is_done
from dualflux.stages import predict_elsewhere as predict
from dualflux.stages import prepare as preparation
from dualflux.stages import status as folder_status
from dualflux.stages.evaluate import evaluate
from dualflux.stages.left_out_years import left_out_years
from dualflux.stages.plan import DECLARED, STAGES, settings_of, stage_plan
from dualflux.stages.report import report
from dualflux.stages.train import TRAININGS, train
from dualflux.stages.upscale import upscale
from dualflux.study.part import PartOfMapping
from dualflux.study.settings import Study, StudySettings, load_study
from dualflux.twin import WorldSettings, build_world, write_world

GOING_ON = {"train": TRAININGS, "left_out_years": ("years",)}  # checkpoints of stages that go on in their middle
_LINES_EVERY = 60.0  # seconds, where no terminal shows a bar


def run(study: Study, out: Path, stages: list[str] | None = None, manner: Manner | None = None) -> None:
    """Run the stages that are not done; with `stages` only those (and what they need)."""
    manner, console = manner or Manner(), Console(stderr=True)
    console.quiet = manner.quiet
    wanted = STAGES if stages is None else STAGES[: max(STAGES.index(s) for s in stages) + 1]
    refuse_users_files(study, out, wanted)
    refuse_wrong_input(study, out)
    plan = stage_plan(study)
    with RunFolder(out, study.settings.seed, CITATIONS, speaker(console), with_lines(manner, console)) as folder:
        folder.write("study.yaml", study.to_yaml())
        for stage in plan:
            if stage.name in wanted:
                folder.stage(stage, action(study, stage, out, console, folder.say))
                if stage.name == "prepare":
                    folder.cite(preparation.tower_citations(out / "prepared"))
                    for line in preparation.read_doubts(out / "prepared"):
                        folder.say(f"doubt: {line}")
                for checkpoint in checkpoints(out, stage, folder.say):
                    checkpoint.remove()
    if "evaluate" in wanted and not manner.quiet:
        print(verdict_text(verdict_table(read_summary(out / "tables/summary.csv"))))
    if "report" in wanted and not manner.quiet:
        print(f"\nreport: {out / 'report.html'}")


def action(study: Study, stage: Stage, out: Path, console: Console, say: Callable[[str], None]) -> Callable[[Path], None]:
    """What a stage does, in the folder that it is given, with the settings that it declares."""
    own = settings_of(study, stage.name)
    actions: dict[str, Callable[[Path], None]] = {
        "prepare": lambda folder: preparation.prepare(own, folder / "prepared"),
        "train": lambda folder: train(own, folder, console, checkpoints(out, stage, say)),
        "upscale": lambda folder: upscale(own, folder),
        "left_out_years": lambda folder: left_out_years(own, folder, console, *checkpoints(out, stage, say)),
        "evaluate": lambda folder: evaluate(own, folder),
        "report": lambda folder: report(PartOfMapping(study.part(*DECLARED["report"]), StudySettings.model_fields), folder),
    }
    return actions[stage.name]


def checkpoints(out: Path, stage: Stage, say: Callable[[str], None]) -> list[Checkpoint]:
    """Where an interrupted stage goes on from; other kinds of device differ in the last digits."""
    made_from = f"{digest(out, stage)} {jax.devices()[0].device_kind}"
    return [Checkpoint(out / MARKERS / f"{name}.checkpoint", made_from, say) for name in GOING_ON.get(stage.name, ())]


def speaker(console: Console) -> Callable[[str], None]:
    """Says a line beside the bars of a console."""
    return lambda line: console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def with_lines(manner: Manner, console: Console) -> Manner:
    """The manner with a line a minute where no terminal shows how far the work is."""
    return manner if console.is_terminal or manner.every is not None else replace(manner, every=_LINES_EVERY)


def refuse_users_files(study: Study, out: Path, wanted: Sequence[str]) -> None:
    """Raise InputError for files of the user's under names of ours, before anything is computed."""
    problems, absent, plan = Problems(), Problems(), list[Stage]()
    with absent.collect():  # inputs that are not there are said with all that `check` finds
        plan = stage_plan(study)
    for name, text in (("study.yaml", study.to_yaml()), ("provenance.json", "")):
        with problems.collect():
            refuse_own(out, name, text, study.file)
    with problems.collect():
        RunLog(out).require_ours()
    with problems.collect():
        refuse_foreign(out, [stage for stage in plan if stage.name in wanted])
    problems.raise_if_any()


def refuse_wrong_input(study: Study, out: Path) -> None:
    """Raise what `check` finds, all at once and before the first stage; inputs that were prepared and are as they were have passed."""
    missing, plan = Problems(), list[Stage]()
    with missing.collect():
        plan = stage_plan(study)
    if plan and is_done(out, plan[0]):
        if not is_done(out, plan[1]):  # perhaps on another machine than the one that prepared
            require_memory(sum(path.stat().st_size for path in (out / "prepared").glob("*.npy")) / 1e9)
        return
    check_study(study).raise_if_wrong()
    missing.raise_if_any()


def predict_elsewhere(study: Study, out: Path, manner: Manner | None = None, **options: Any) -> None:
    """Apply the run in `study.out` to another grid or period, see `dualflux.stages.predict_elsewhere.predict`."""
    manner, console = manner or Manner(), Console(stderr=True)
    console.quiet = manner.quiet
    with progress_display(console) as bars, pulse(None, "predict", speaker(console), with_lines(manner, console)):
        products = predict.predict(study, out, advance=lambda text: counted(bars, text), say=speaker(console), **options)
    if not manner.quiet:
        print("\n".join(printable(str(path)) for path in products))


def check(study: Study, everything: bool = False, known: Sequence[str] = ()) -> None:
    """Print what a run would use, in short or `everything`; raise with every problem, those that are `known` of the study file first."""
    found = check_study(study, known)
    print("\n".join(map(printable, (found.text() if everything else found.first_screen()).splitlines())))
    found.raise_if_wrong()
    print("\nThe study can run.")


def demo(full: bool, out: Path, manner: Manner | None = None) -> None:
    """Build a synthetic world with known truth in `out`/world, run a whole study on it and print the verdict."""
    settings = WorldSettings(resolution=2.0 if full else 4.0, time_step="daily" if full else "monthly")
    file = write_world(build_world(settings), out / "world", **demo_options(full))
    run(load_study(file, out=out), out, manner=manner)


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


def status(path: Path, data_root: Path | None = None, out: Path | None = None) -> None:
    """Print which stages of a run are done and who works on it; `path` is a study file or a run folder."""
    print("\n".join(map(printable, folder_status.describe(path, data_root, out))))

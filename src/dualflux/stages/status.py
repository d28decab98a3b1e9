"""`dualflux status`: which stages of a run are done, and who works on it, at what, since when. Reads only."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dualflux.errors import InputError
from dualflux.run_folder.lock import is_running, read_holder
from dualflux.run_folder.pulse import duration, read_pulse
from dualflux.run_folder.stage import MARKERS, Stage, read_marker, reason_to_redo
from dualflux.stages import compare_products as comparison
from dualflux.stages.plan import STAGES, stage_plan
from dualflux.study.settings import load_study


def describe(path: Path, data_root: Path | None = None, out: Path | None = None) -> list[str]:
    """Lines on a run, given by its study file or its folder.

    Raises
    ------
    InputError
        The study is wrong, or the folder is no run.
    """
    if path.is_dir():
        if out is not None:
            raise InputError(f"{path}: a folder, and --out {out}; give the run folder, or a study file with --out")
        return describe_folder(path.absolute(), data_root)
    file, folder = path, out
    if comparison.is_comparison(file):
        compared = comparison.load_comparison(file, data_root, folder)
        return [*_work(compared.out), *_stages(compared.out, comparison.stage_plan(compared))]
    study = load_study(file, data_root, folder)
    return [*_work(study.out), *_stages(study.out, stage_plan(study))]


def describe_folder(folder: Path, data_root: Path | None) -> list[str]:
    """Lines on a run folder, also where its inputs are no longer there."""
    if not (folder / MARKERS).is_dir():
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise InputError(f"{folder}: no run folder, it has no {MARKERS}; there is: {there}; give a run folder or a study file")
    file = folder / "study.yaml"
    if not file.is_file():
        return [*_work(folder), "no study.yaml: a folder of `dualflux predict`, or a run that was refused before it began"]
    try:
        return describe(file, data_root, folder)
    except InputError as error:
        return [*_work(folder), *_marked(folder), f"whether its inputs and settings are as they were cannot be seen: {error.problems[0]}"]


def _stages(out: Path, stages: Sequence[Stage]) -> Iterator[str]:
    working, undone = _now(out), set[str]()
    for stage in stages:
        waits = [name for name in stage.after if name in undone]
        reason = f"waits for {', '.join(waits)}" if waits else reason_to_redo(out, stage)
        if reason is not None:
            undone.add(stage.name)
        if working is not None and working["stage"] == stage.name:
            undone.add(stage.name)
            yield _running(working)
        else:
            yield f"{stage.name}: {reason or _done(out, stage.name)}"


def _marked(out: Path) -> Iterator[str]:
    """What the markers alone say."""
    working = _now(out)
    for name in STAGES:
        if working is not None and working["stage"] == name:
            yield _running(working)
        elif read_marker(out, name) is not None:
            yield f"{name}: {_done(out, name)}"


def _done(out: Path, stage: str) -> str:
    marker = read_marker(out, stage) or {}
    return f"done, at {marker.get('finished', 'some time')} in {duration(float(marker.get('seconds', 0)))}"


def _running(working: dict[str, Any]) -> str:
    step = f", {working['step']}" if working["step"] else ""
    return f"{working['stage']}: runs since {working['since']}{step}; {working['memory_gb']} GB (as of {working['noted']})"


def _now(out: Path) -> dict[str, Any] | None:
    """The note of the stage that runs; none where its process has ended, or is not the one that holds the folder."""
    noted, holder = read_pulse(out / MARKERS), read_holder(out / MARKERS)
    if noted is None or holder is None or (noted["pid"], noted["host"]) != (holder["pid"], holder["host"]):
        return None
    return None if is_running(holder) is False else noted


def _work(out: Path) -> Iterator[str]:
    """Who works in the folder."""
    holder = read_holder(out / MARKERS)
    if holder is None:
        yield f"{out}: nobody works here" if out.is_dir() else f"{out}: not begun"
        return
    who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    alive = is_running(holder)
    if alive:
        yield f"{out}: in work by {who}"
    elif alive is None:
        yield f"{out}: taken by {who}; whether it still runs can be seen there only"
    else:
        yield f"{out}: nobody works here; {who}, ended before it was done, and the same command goes on"

"""A study of seconds whose runs can be disturbed: started, stopped at a chosen moment, compared byte by byte with a quiet one."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from dualflux.twin import WorldSettings, build_world, write_world

STAGES = ("prepare", "train", "upscale", "evaluate", "report")
PLACES = {  # what each stage writes
    "prepare": ("prepared",),
    "train": ("models",),
    "upscale": ("products", "tables/regional_members.csv"),
    "evaluate": ("tables",),
    "report": ("figures", "report.html"),
}
NOTES = {"notes.txt": "the user's", "figures/mine.txt": "the user's figure", "products/README": "the user's product"}
TIMED = ("provenance.json", "report.html", "dualflux.log")  # hold times of day
LIMIT = 600  # seconds of a run


class Done(NamedTuple):
    """How a command ended."""

    status: int
    said: str

    @property
    def problem(self) -> str:
        """Its error lines, or the last thing it said."""
        lines = [line for line in self.said.splitlines() if line.startswith("dualflux: ")]
        return " | ".join(line.removeprefix("dualflux: ").removeprefix("error: ") for line in lines)


class Process:
    """A command under way; its output is read from a file, so that it never waits for a reader."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path, **how: Any) -> None:
        self.log = log
        with log.open("wb") as file:
            streams = {"stdout": file, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, **how}
            # A shell starts background jobs with Ctrl-C ignored, and what they start inherits that: here it must count.
            ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                self.process = subprocess.Popen(arguments, env=env, **streams)
            finally:
                signal.signal(signal.SIGINT, ignored)

    def until(self, happened: Callable[[], bool]) -> bool:
        """Wait until something has happened; False where the process ended before."""
        while not happened():
            if self.process.poll() is not None:
                return False
            time.sleep(0.002)
        return True

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def end(self) -> Done:
        status = self.process.wait(LIMIT)
        return Done(status, self.log.read_text(errors="replace"))


@dataclass(frozen=True)
class Study:
    """The undisturbed study.

    Attributes
    ----------
    world, finished : Path
        Its inputs, and its run folder when all is done.
    work : Path
        Where disturbed copies go.
    env : dict
        Environment of all runs: compiled programs are kept, so that a run takes seconds.
    """

    world: Path
    finished: Path
    work: Path
    env: dict[str, str]

    @classmethod
    def reopen(cls, folder: Path) -> "Study":
        """The study that `create` made here before."""
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        study = cls(folder / "world", folder / "finished", folder / "work", {**os.environ, **cache, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"})
        shutil.rmtree(study.work, ignore_errors=True)
        study.work.mkdir()
        return study

    @classmethod
    def create(cls, folder: Path, notes: bool = True) -> "Study":
        """Make the world and run the study once, in quiet; with `notes` the user's own files lie about."""
        write_small_world(folder / "world")
        study = cls.reopen(folder)
        done = study.run(study.finished)
        if done.status != 0:
            raise RuntimeError(f"the undisturbed study failed:\n{done.said}")
        for name, text in NOTES.items() if notes else ():
            (study.finished / name).write_text(text)
        return study

    def arguments(self, out: Path, world: Path | None = None, command: str = "run") -> list[str]:
        return [sys.executable, "-m", "dualflux.cli", command, str((world or self.world) / "study.yaml"), "--out", str(out)]

    def start(
        self, out: Path, world: Path | None = None, env: Mapping[str, str] | None = None, options: Sequence[str] = (), **how: Any
    ) -> Process:
        """Start the study in a run folder."""
        log = self.work / f"{time.time_ns()}.log"
        return Process([*self.arguments(out, world), *options], {**self.env, **(env or {})}, log, **how)

    def run(self, out: Path, world: Path | None = None, env: Mapping[str, str] | None = None, **how: Any) -> Done:
        """Run the study to its end."""
        return self.start(out, world, env, **how).end()

    def done_before(self, stage: str, name: str = "run") -> Path:
        """A run folder in which all stages before this one are done, and files of the user's own lie about."""
        out = self.work / f"{time.time_ns()} {name}"
        shutil.copytree(self.finished, out)
        for later in STAGES[STAGES.index(stage) :]:
            for record in marker(self.finished, later)["outputs"]:
                (out / record["path"]).unlink(missing_ok=True)
            (out / f".dualflux/stage_{later}.json").unlink()
        return out

    def whole(self) -> Path:
        """A copy of the finished run folder."""
        return Path(shutil.copytree(self.finished, self.work / f"{time.time_ns()} whole"))

    def lost(self, out: Path, upto: str | None = None) -> int:
        """Bytes of the finished run (of the stages before `upto`), and of the user's own files, that are not in a folder as they were."""
        stages = STAGES if upto is None else STAGES[: STAGES.index(upto)]
        names = [r["path"] for s in stages for r in marker(self.finished, s)["outputs"] if r["path"] not in TIMED]
        here = [name for name in (*names, *NOTES) if not _same(self.finished / name, out / name)]
        return sum((self.finished / name).stat().st_size for name in here)

    def more(self, out: Path) -> list[str]:
        """Files in a folder that the finished run does not have."""
        return sorted(
            {p.relative_to(out).as_posix() for p in files(out)} - {p.relative_to(self.finished).as_posix() for p in files(self.finished)}
        )


def marker(out: Path, stage: str) -> dict[str, Any]:
    """What a stage noted when it was done."""
    found: dict[str, Any] = json.loads((out / f".dualflux/stage_{stage}.json").read_text())["content"]
    return found


def files(out: Path) -> Iterator[Path]:
    """All files of a run folder but the program's own notes."""
    return (p for p in out.rglob("*") if p.is_file() and ".dualflux" not in p.parts)


def writing(out: Path, stage: str) -> Callable[[], bool]:
    """Says whether a stage has begun to write its files: in its workshop, or where they go."""
    before, workshop = {p for p in files(out)}, out / f".dualflux/workshop_{stage}"
    return lambda: (
        any(not p.is_symlink() for p in _at(workshop)) or any(p not in before for place in PLACES[stage] for p in _at(out / place))
    )


def _at(place: Path) -> list[Path]:
    try:
        return [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place] if place.exists() else []
    except FileNotFoundError:  # it is being replaced
        return []


def _same(first: Path, second: Path) -> bool:
    return second.is_file() and _digest(first) == _digest(second)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_small_world(folder: Path) -> None:
    settings = WorldSettings(resolution=10.0, start=date(2001, 1, 1), end=date(2004, 12, 31), towers=16, unseen_towers=4)
    options: dict[str, object] = {
        "name": "disturbed",
        "regions": {"bands": {"north": [20.0, 90.0], "south": [-60.0, 20.0]}},
        "network": {"hidden": [8], "members": 2, "folds": 2},
        "inversion_term": {"estimator": "stratified", "locations": 2, "years": 2, "weight": 1.0},
        "spatial_term": {"correlation_length": 3000.0},
        "training": {"steps": 40, "checkpoints": 4, "batch": 64},
        "variants": ["towers", "dual"],
        "figure_regions": ["global"],
    }
    write_world(build_world(settings), folder, **options)


def write_region_shapes(world: Path, names: tuple[str, str]) -> None:
    """Two regions as a shapefile, which the world's study then uses; needs the extra `regions`."""
    import pyogrio
    import shapely

    boxes = np.array([shapely.box(-180, 20, 180, 90), shapely.box(-180, -60, 180, 20)])
    pyogrio.raw.write(
        world / "shapes.shp", shapely.to_wkb(boxes), [np.array(names, dtype=object)], ["name"], geometry_type="Polygon", crs="EPSG:4326",
        driver="ESRI Shapefile",
    )  # fmt: skip
    file = world / "study.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["regions"] = {"path": "shapes.shp", "property": "name"}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")


@contextmanager
def mounted(source: str, place: Path, *options: str) -> Iterator[None]:
    """Mount something; RuntimeError where this account may not."""
    place.mkdir(parents=True, exist_ok=True)
    found = subprocess.run(["mount", *options, source, str(place)], capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], capture_output=True, check=False)

"""Injects faults into a running study; each must be survived: nothing lost, a clear message, the same bytes at the end.

    python benchmarks/faults.py --out faults.json            (about a quarter of an hour on two cores)
    python benchmarks/faults.py --out faults.json --quick    (a few minutes)

A small synthetic study is run once in quiet. Each fault then strikes a copy of it in one stage; the fault goes away, the same
command is given again, and every file (but the times of day in provenance.json and report.html) is compared with the
quiet run's. The file holds `faults, bytes_lost, silent_damage, litter` (numbers) and in `cases` one record per fault: `fault, stage,
survived, bytes_lost, silent_damage, litter, message`. Damage is silent where a command ends with 0 and bytes are lost; litter are files
that nobody asked for. `bytes_lost` counts bytes of stages that were
done, of inputs and of the user's own files that are gone or changed after the fault, and of results that differ at the end.
A fault that this account cannot inject is reported as skipped. Exit status 1 where one was not survived.
"""

import argparse
import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from fault_study import PLACES, STAGES, Done, Process, Study, marker, mounted, write_region_shapes, writing

DONE, WRONG, INTERRUPTED, KILLED = 0, 2, 130, -signal.SIGKILL
ADDRESS_SPACE = 4_000_000_000  # bytes that the whole small study takes, most of it never touched
ODD_NAME = "we[ir]d *?$%{x} 'q\" \\ ünï 日本 " + "very long " * 12
CORRUPTIBLE = {
    "prepare": ("prepared/dynamic.npy", "prepared/target.nc", "prepared/observations.csv"),
    "train": ("models/dual/weights.npz",),
    "upscale": ("products/dual/nee_monthly.nc",),
    "evaluate": ("tables/summary.csv",),
    "report": ("figures/main_cycles.png",),
}


class Struck(NamedTuple):
    """What a fault did.

    Attributes
    ----------
    done : Done
        How the struck command ended.
    statuses : tuple of int
        Exit statuses that are right.
    says : tuple of str
        What its message must hold.
    lost : int
        Bytes gone right after the fault.
    """

    done: Done
    statuses: tuple[int, ...]
    says: tuple[str, ...] = ()
    lost: int = 0


class Fault(NamedTuple):
    """A fault in one stage; `strike` gets the study and the run folder and calls `recover` on the way or leaves it to the end."""

    name: str
    stage: str
    strike: Callable[[Study, Path], Struck]
    quick: bool = False


# --- a process that ends ---


def stopped(stage: str, number: int, status: int, late: bool) -> Callable[[Study, Path], Struck]:
    """A signal when a stage has begun, or when it has begun to write."""

    def strike(study: Study, out: Path) -> Struck:
        process = study.start(out)
        process.until(lambda: process.said(f"{stage}: starts"))
        if late:
            process.until(writing(out, stage))
        process.process.send_signal(number)
        return Struck(process.end(), (status,), ("the same command goes on",) if status == INTERRUPTED else (), study.lost(out, stage))

    return strike


def two_runs(study: Study, out: Path) -> Struck:
    first = study.start(out)
    first.until(lambda: first.said("upscale: starts"))
    second = study.run(out)
    first.end()
    return Struck(second, (WRONG,), ("is working in this folder", "wait until it ends"), study.lost(out, "upscale"))


def foreign_lock(study: Study, out: Path) -> Struck:
    lock = out / ".dualflux/lock"
    lock.write_text(json.dumps({"pid": 1, "host": "another-host", "since": "2020-01-01T00:00:00+00:00"}))
    done = study.run(out)
    taken = study.run(out, options=("--take-over",))
    if taken.status:
        return Struck(taken, (DONE,))
    return Struck(done, (WRONG,), ("another-host", "--take-over"), study.lost(out, "upscale"))


def closed_terminal(study: Study, out: Path) -> Struck:
    """The terminal of a run is closed: the kernel sends SIGHUP, and there is nobody left to write to."""
    leader, terminal = pty.openpty()
    process = study.start(out, stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=lambda: _take_terminal(terminal))
    os.close(terminal)
    process.until(lambda: (out / ".dualflux/workshop_upscale").is_dir())
    os.close(leader)
    done = process.end()
    said = (out / "dualflux.log").read_text()
    return Struck(Done(done.status, said), (INTERRUPTED,), ("SIGHUP", "the terminal was closed"), study.lost(out, "upscale"))


def _take_terminal(terminal: int) -> None:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def little_memory(part: float) -> Callable[[Study, Path], Struck]:
    """The address space is limited to a part of what the whole study takes; it is said in a sentence, or there is enough."""

    def strike(study: Study, out: Path) -> Struck:
        limit = int(part * ADDRESS_SPACE)
        limits = [(resource.RLIMIT_AS, (limit, limit)), (resource.RLIMIT_CORE, (0, 0))]
        done = study.run(out, preexec_fn=lambda: [resource.setrlimit(kind, values) for kind, values in limits])
        return Struck(done, (DONE, WRONG), ("not enough memory",) if done.status else (), study.lost(out, "train"))

    return strike


# --- files of the user's ---


def study_in_out(study: Study, out: Path) -> Struck:
    """`--out .` in the folder of the study file."""
    shutil.rmtree(out)
    shutil.copytree(study.world, out)
    before = (out / "study.yaml").read_bytes()
    done = study.run(out, out)
    lost = 0 if (out / "study.yaml").read_bytes() == before else len(before)
    shutil.rmtree(out)
    shutil.copytree(study.finished, out)
    return Struck(done, (WRONG,), ("this is the study file", "choose another --out"), lost)


def users_file(stage: str, when: str) -> Callable[[Study, Path], Struck]:
    """The user saves files of his own among the results: one beside them, and before or during the stage one with a result's name."""

    def strike(study: Study, out: Path) -> Struck:
        place = out / PLACES[stage][0]
        beside = place / "of my own.pdf"
        process = None
        if when != "before":
            process = study.start(out)
            process.until(lambda: process.said(f"{stage}: starts"))
            if when == "after a kill":
                process.until(writing(out, stage))
                process.process.kill()
                process.end()
        place.mkdir(parents=True, exist_ok=True)
        beside.write_text("mine")
        own = out / marker(study.finished, stage)["outputs"][0]["path"]
        if when == "before":
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_text("mine")
        done = process.end() if when == "during" and process is not None else study.run(out)
        lost = sum(4 for path in (beside, *([own] if when == "before" else [])) if not path.exists() or path.read_text() != "mine")
        if when == "before":
            own.unlink(missing_ok=True)
        again = study.run(out)
        lost += 0 if beside.exists() and again.status == 0 else 4
        beside.unlink(missing_ok=True)
        return Struck(done, (WRONG,) if when == "before" else (DONE,), ("dualflux did not write this",) if when == "before" else (), lost)

    return strike


def changed_side_file(study: Study, out: Path) -> Struck:
    """The table beside the shapes of the regions changes, the shapes do not; the change must be seen."""
    world = Path(shutil.copytree(study.world, study.work / f"world {time.time_ns()}"))
    write_region_shapes(world, ("north", "south"))
    first = study.run(out, world)
    for path in world.glob("shapes.*"):  # names of regions stand in the .dbf alone
        path.unlink()
    write_region_shapes(world, ("boreal", "austral"))
    done = study.run(out, world)
    shutil.rmtree(out)
    shutil.copytree(study.finished, out)
    return Struck(first if first.status else done, (DONE,), ("inputs changed (", "shapes.dbf"))


# --- disks ---


def full_disk(stage: str, part: float) -> Callable[[Study, Path], Struck]:
    """The run folder lies on a disk with room for a part of what the stage writes; then there is more."""

    def strike(study: Study, out: Path) -> Struck:
        used = sum(-(-p.stat().st_size // 4096) * 4096 + 512 for p in out.rglob("*"))
        size = int(used + part * sum(r["bytes"] for r in marker(study.finished, stage)["outputs"])) + 65536
        place = study.work / f"disk {time.time_ns()}"
        with mounted("tmpfs", place, "-t", "tmpfs", "-o", f"size={size}"):
            shutil.copytree(out, place / "run")
            done = study.run(place / "run")
            lost = study.lost(place / "run", stage)
            shutil.rmtree(out)
            shutil.copytree(place / "run", out)
        return Struck(done, (WRONG,), ("the disk is full", "make room"), lost)

    return strike


def small_files(stage: str) -> Callable[[Study, Path], Struck]:
    """No file may be larger than half of the stage's largest."""

    def strike(study: Study, out: Path) -> Struck:
        limit = max(r["bytes"] for r in marker(study.finished, stage)["outputs"]) // 2
        done = study.run(out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)))
        return Struck(done, (WRONG,), ("the file would be larger", "make room"), study.lost(out, stage))

    return strike


def read_only_run(study: Study, out: Path) -> Struck:
    with ExitStack() as stack:
        stack.enter_context(mounted(str(out), out, "--bind"))
        stack.enter_context(mounted(str(out), out, "-o", "remount,bind,ro"))
        done = study.run(out)
        lost = study.lost(out, "evaluate")
    return Struck(done, (WRONG,), ("the disk is read-only", "--out"), lost)


def read_only_inputs(study: Study, out: Path) -> Struck:
    with ExitStack() as stack:
        stack.enter_context(mounted(str(study.world), study.world, "--bind"))
        stack.enter_context(mounted(str(study.world), study.world, "-o", "remount,bind,ro"))
        done = study.run(out)
    return Struck(done, (DONE,))


def few_open_files(study: Study, out: Path) -> Struck:
    return Struck(study.run(out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 4096))), (DONE, WRONG))


# --- inputs and results that change ---


def vanishing(name: str, when: str) -> Callable[[Study, Path], Struck]:
    """An input goes before the run, or while `prepare` reads; then it is back."""

    def strike(study: Study, out: Path) -> Struck:
        world = Path(shutil.copytree(study.world, study.work / f"world {time.time_ns()}"))
        if when == "before":
            (world / name).unlink()
        process = study.start(out, world)
        if when == "during":
            process.until(lambda: process.said("prepare: starts"))
            (world / name).unlink(missing_ok=True)
        done = process.end()
        shutil.rmtree(world)
        return Struck(
            done, (WRONG,), (Path(name).name, "no such file") if when == "before" else (Path(name).name,), study.lost(out, "prepare")
        )

    return strike


def replaced_input(study: Study, out: Path) -> Struck:
    """Another content of the same size and modification time, as after a clock set back; the change must be seen."""
    world = Path(shutil.copytree(study.world, study.work / f"world {time.time_ns()}"))
    study.run(out, world)
    path = world / "towers/sites.csv"
    before, text = path.stat(), path.read_text()
    lines = text.splitlines(keepends=True)
    path.write_text("".join([lines[0], *reversed(lines[1:])]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Struck(study.run(out, world), (DONE,), ("inputs changed (sites.csv)",))


def corrupted(name: str, how: str) -> Callable[[Study, Path], Struck]:
    """One bit flips, or the end of a file is lost; the file must be made again."""

    def strike(study: Study, out: Path) -> Struck:
        path = out / name
        content = bytearray(path.read_bytes())
        if how == "bit":
            content[len(content) // 2] ^= 1
        path.write_bytes(content if how == "bit" else content[: len(content) // 2])
        done = study.run(out)
        return Struck(done, (DONE,), (f"its output {name} was changed or is corrupt",))

    return strike


def corrupt_checkpoint(study: Study, out: Path) -> Struck:
    """A checkpoint of an interrupted training is garbage when it is to go on."""
    path = out / ".dualflux/networks.checkpoint"
    path.write_bytes(b"0" * 1000)
    done = study.run(out)
    return Struck(done, (DONE,), ("not whole, its checksum is another", "starting anew"))


def damaged_notes(name: str, content: bytes) -> Callable[[Study, Path], Struck]:
    """The program's own notes are garbage."""

    def strike(study: Study, out: Path) -> Struck:
        (out / name).write_bytes(content)
        return Struck(study.run(out), (DONE,))

    return strike


# --- clocks, languages, places, terminals ---


def clock_back(study: Study, out: Path) -> Struck:
    """Files from the future, and a clock that stands ten years earlier than when they were written."""
    future = time.time() + 1e8
    for path in [*out.rglob("*"), *study.world.rglob("*")]:
        os.utime(path, (future, future))
    code = (
        "import sys, time; real, real_ns = time.time, time.time_ns\n"
        "time.time = lambda: real() - 3e8; time.time_ns = lambda: real_ns() - 3 * 10**17\n"
        "from dualflux.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = study.arguments(out)[3:]
    process = Process([sys.executable, "-c", code, *arguments], study.env, study.work / f"{time.time_ns()}.log")
    return Struck(process.end(), (DONE,), ("train: kept", "upscale: done"))


def language(**env: str) -> Callable[[Study, Path], Struck]:
    return lambda study, out: Struck(study.run(out, env=env), (DONE,))


def odd_place(study: Study, out: Path) -> Struck:
    """Inputs and run folder are moved to where no one would put them; what is done stays done."""
    place = study.work / ODD_NAME
    world, moved = Path(shutil.copytree(study.world, place / "inputs")), Path(shutil.copytree(out, place / "run"))
    done = study.run(moved, world)
    shutil.rmtree(out)
    shutil.move(moved, out)
    shutil.rmtree(place)
    return Struck(done, (DONE,), ("train: kept",))


def no_reader(study: Study, out: Path) -> Struck:
    """Nobody reads what the run says."""
    read, write = os.pipe()
    os.close(read)
    done = study.run(out, stdout=write, stderr=write)
    os.close(write)
    return Struck(done, (DONE,))


def no_streams(study: Study, out: Path) -> Struck:
    """The run is started with all three standard streams closed."""
    return Struck(study.run(out, preexec_fn=lambda: [os.close(n) for n in range(3)]), (DONE,))


def _faults() -> Iterator[Fault]:
    for stage in STAGES:
        yield Fault("kill -9 when it begins", stage, stopped(stage, signal.SIGKILL, KILLED, late=False), stage == "train")
        yield Fault("kill -9 while it writes", stage, stopped(stage, signal.SIGKILL, KILLED, late=True), stage in ("upscale", "report"))
    yield Fault("Ctrl-C", "train", stopped("train", signal.SIGINT, INTERRUPTED, late=False))
    yield Fault("Ctrl-C", "upscale", stopped("upscale", signal.SIGINT, INTERRUPTED, late=True), True)
    yield Fault("batch system's SIGTERM", "evaluate", stopped("evaluate", signal.SIGTERM, INTERRUPTED, late=False))
    yield Fault("batch system's SIGUSR1", "upscale", stopped("upscale", signal.SIGUSR1, INTERRUPTED, late=True))
    yield Fault("limit on CPU time, SIGXCPU", "evaluate", stopped("evaluate", signal.SIGXCPU, INTERRUPTED, late=False))
    yield Fault("closed terminal", "upscale", closed_terminal, True)
    for part in (0.05, 0.15, 0.3, 0.5, 0.8):
        yield Fault(f"memory limited to {part:.0%} of what it takes", "train", little_memory(part), part == 0.15)
    yield Fault("--out . where the study lies", "prepare", study_in_out, True)
    for stage in STAGES:
        for when in ("before", "during", "after a kill"):
            yield Fault(f"a file of the user's among the results, {when}", stage, users_file(stage, when), stage == "report")
    yield Fault("another .dbf beside the same shapes", "prepare", changed_side_file)
    for stage in STAGES:
        yield Fault("full disk", stage, full_disk(stage, 0.5), stage in ("prepare", "upscale"))
    for stage in STAGES:
        yield Fault("limit on the size of files", stage, small_files(stage), stage == "upscale")
    yield Fault("read-only run folder", "evaluate", read_only_run, True)
    yield Fault("read-only inputs", "prepare", read_only_inputs)
    yield Fault("48 open files at most", "evaluate", few_open_files)
    yield Fault("two runs in one folder", "upscale", two_runs, True)
    yield Fault("lock of another computer", "upscale", foreign_lock)
    yield Fault("input vanishes before the run", "prepare", vanishing("inversions.nc", "before"), True)
    for name in ("predictors/ta.nc", "towers/sites.csv"):
        yield Fault(f"input vanishes: {Path(name).name}", "prepare", vanishing(name, "during"))
    yield Fault("input replaced, same size and time", "prepare", replaced_input)
    for stage, names in CORRUPTIBLE.items():
        for name in names:
            yield Fault(f"flipped bit in {name}", stage, corrupted(name, "bit"), stage in ("upscale", "report"))
        yield Fault(f"{names[0]} cut short", stage, corrupted(names[0], "cut"))
    yield Fault("garbage in a checkpoint", "train", corrupt_checkpoint)
    for name in ("stage_evaluate.json", "checksums.json", "lock"):
        yield Fault(f"garbage in {name}", "evaluate", damaged_notes(f".dualflux/{name}", b'{"\xff\x00'), name == "checksums.json")
    yield Fault("other JSON in checksums.json", "evaluate", damaged_notes(".dualflux/checksums.json", b'{"a": 1, "b": [2]}'))
    yield Fault("garbage in provenance.json", "evaluate", damaged_notes("provenance.json", b"{"))
    yield Fault("clock set back, files from the future", "upscale", clock_back)
    yield Fault("LC_ALL=C, ASCII only", "evaluate", language(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", TZ="UTC"), True)
    yield Fault("German numbers, far east of Greenwich", "prepare", language(LC_ALL="de_DE.UTF-8", TZ="Pacific/Kiritimati"))
    yield Fault("Turkish letters, far west of Greenwich", "prepare", language(LC_ALL="tr_TR.UTF-8", TZ="Pacific/Pago_Pago"))
    yield Fault("odd and long paths", "upscale", odd_place, True)
    yield Fault("nobody reads the output", "upscale", no_reader, True)
    yield Fault("standard streams closed", "upscale", no_streams)


def judge(study: Study, fault: Fault) -> dict[str, object]:
    """Inject one fault, take it away, run again and compare."""
    whole = fault.strike.__qualname__.startswith(("corrupted", "damaged_notes"))
    out = study.whole() if whole else study.done_before(fault.stage)
    try:
        struck = fault.strike(study, out)
    except RuntimeError as error:
        skipped = {"survived": None, "bytes_lost": None, "silent_damage": None, "litter": None}
        return {"fault": fault.name, "stage": fault.stage, **skipped, "message": f"skipped: {error}"}
    again = study.run(out)
    lost, more = struck.lost + study.lost(out), study.more(out)
    said = struck.done.said
    faults = [
        *([f"exit status {struck.done.status}"] if struck.done.status not in struck.statuses else []),
        *(["a traceback"] if _has_traceback(said) else []),
        *[f"does not say {words!r}" for words in struck.says if words not in said],
        *([f"the next run ends with status {again.status}: {again.problem}"] if again.status else []),
        *([f"left behind: {', '.join(more)}"] if more else []),
    ]
    message = struck.done.problem or next((line for line in said.splitlines() if any(words in line for words in struck.says)), "")
    shutil.rmtree(out)
    text = "; ".join(faults) if faults else _short(message, study) or "same bytes"
    damaged = lost > 0 and (struck.done.status == DONE or again.status == DONE)
    found = {"survived": not faults and lost == 0, "bytes_lost": lost, "silent_damage": damaged, "litter": bool(more)}
    return {"fault": fault.name, "stage": fault.stage, **found, "message": text}


def _has_traceback(said: str) -> bool:
    """Not those that Python ignores: h5netcdf complains when it is interrupted while it opens a file."""
    lines = ["", *said.splitlines()]
    shown = [line for before, line in pairwise(lines) if not before.startswith("Exception ignored")]
    return any(line.startswith(("Traceback", "Fatal Python error")) for line in shown)


def _short(message: str, study: Study) -> str:
    return message.replace(f"{study.work}/", "").replace(f"{study.world}/", "")


def as_row(record: dict[str, object], width: int = 170) -> str:
    survived = {True: "survived", False: "LOST", None: "skipped"}[record["survived"]]  # type: ignore[index]
    line = f"{record['fault']:<46} {record['stage']:<9} {survived:<9} {record['bytes_lost']!s:>6}  {record['message']}"
    return line if len(line) <= width else f"{line[: width - 3]}..."


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    parser.add_argument("--quick", action="store_true", help="one fault of each kind")
    parser.add_argument("--only", default="", help="faults whose name holds this")
    arguments = parser.parse_args()
    chosen = [f for f in _faults() if (f.quick or not arguments.quick) and arguments.only in f.name]
    records = []
    with tempfile.TemporaryDirectory(prefix="dualflux faults ") as folder:
        study = Study.create(Path(folder))
        print(f"{'fault':<46} {'stage':<9} {'outcome':<9} {'lost':>6}  message")
        for fault in chosen:
            records.append(judge(study, fault))
            print(as_row(records[-1]), flush=True)
    survived = sum(r["survived"] is True for r in records)
    skipped = sum(r["survived"] is None for r in records)
    lost = sum(int(str(r["bytes_lost"])) for r in records if r["bytes_lost"] is not None)
    print(f"{len(records)} faults: {survived} survived, {len(records) - survived - skipped} not, {skipped} skipped; {lost} bytes lost")
    numbers = {name: sum(r[name] is True for r in records) for name in ("silent_damage", "litter")}
    found = {"faults": len(records) - skipped, "bytes_lost": lost, **numbers, "cases": records}
    arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if survived + skipped == len(records) else 1


if __name__ == "__main__":
    sys.exit(run())

"""Killed runs, full disks, changed files, odd clocks and terminals: nothing is lost and what is said is true.

benchmarks/faults.py injects the same faults, and more, into whole runs.
"""

import contextlib
import errno
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.cli import main
from dualflux.run_folder.files import checksum, read_sealed, write_atomically, write_sealed
from dualflux.run_folder.hdf5_output import PatientFile, write_netcdf
from dualflux.run_folder.machine_errors import machine_problem
from dualflux.run_folder.run_folder import MARKERS, RunFolder, Stage, is_done, reason_to_redo
from dualflux.run_folder.unread_output import UnreadOutput
from test_stages import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


class Killed(BaseException):
    """Ends an action where it stands, as kill -9 does: nothing behind it is written."""


# --- a stage that does not come to its end ---


def begin(study: Study, names: tuple[str, ...], stop: str) -> None:
    """Run the first stage, writing these files; killed at work, or when all but its marker is written."""

    def action(folder: Path) -> None:
        (folder / "a").mkdir(exist_ok=True)
        for name in names:
            (folder / "a" / name).write_text(name)
        if stop == "at work":
            raise Killed

    stage = replace(study.stages()[0], outputs=["a/*.txt"])
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed), RunFolder(study.out, 7, say=study.said.append) as run:
        if stop == "at the marker":
            patch.setattr("dualflux.run_folder.run_folder.marker_path", killed)
        run.stage(stage, action)


def killed(*_: object) -> Path:
    raise Killed


STOPS = ("at work", "at the marker")


@pytest.mark.parametrize("stop", STOPS)
def test_what_a_killed_stage_wrote_is_no_result_of_the_next(study: Study, stop: str) -> None:
    """Killed with two variants, then run with one: the other's file must not stay among the results."""
    begin(study, ("towers.txt", "dual.txt"), stop)
    study.settings = {"variants": ["dual"]}
    begin(study, ("dual.txt",), "")
    assert [p.name for p in (study.out / "a").iterdir()] == ["dual.txt"]
    assert is_done(study.out, replace(study.stages()[0], outputs=["a/*.txt"]))


def test_the_users_files_are_never_removed(study: Study) -> None:
    """In every order of kills, repeats and changes, whenever the files came."""
    mine = [study.out / "a/before.md", study.out / "a/deep/mine.txt", study.out / "notes.txt"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    for round_ in range(2):
        study.settings = {"round": round_}
        for stop in (*STOPS, *STOPS, ""):
            begin(study, ("result.txt",), stop)
            assert all(path.read_text() == "mine" for path in mine)
            after = study.out / f"a/after {stop} {round_}.txt"  # as a result could be called, too
            after.write_text("mine")
            mine.append(after)
        assert is_done(study.out, replace(study.stages()[0], outputs=["a/*.txt"]))
    recorded = read_sealed(study.out / MARKERS / "stage_copy.json")
    assert recorded is not None and [r["path"] for r in recorded["outputs"]] == ["a/result.txt"]


@pytest.mark.parametrize("stop", STOPS)
def test_a_moved_folder_of_a_killed_run_keeps_the_users_files(study: Study, tmp_path: Path, stop: str) -> None:
    """A full disk's folder is copied to another: times and inodes are new, the files are still whose they were."""
    (study.out / "a").mkdir(parents=True)
    (study.out / "a/mine.md").write_text("mine")
    begin(study, ("towers.txt",), stop)
    subprocess.run(["cp", "-r", str(study.out), str(tmp_path / "moved")], check=True)
    study.out = tmp_path / "moved"
    begin(study, ("dual.txt",), "")
    assert sorted(p.name for p in (study.out / "a").iterdir()) == ["dual.txt", "mine.md"]


def test_hidden_files_are_no_results(study: Study) -> None:
    begin(study, (".checkpoint", "dual.txt"), "")
    assert [p.name for p in (study.out / "a").iterdir()] == ["dual.txt"]


def test_leftovers_of_killed_writing_go(study: Study) -> None:
    study.run()
    for place in (study.out, study.out / MARKERS):
        (place / ".provenance.json.123.tmp").write_text("{")
    study.run()
    assert not list(study.out.rglob("*.tmp"))


def test_a_refused_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.json", "new \ud800")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.json": "old"}


# --- what is known of files ---


def test_another_content_of_the_same_size_and_time_is_seen(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cp -p`, `touch -r`, or a clock set back: the modification time says nothing."""
    monkeypatch.setattr("dualflux.run_folder.files._SETTLED", -(10**15))
    study.run()
    before = study.source.stat()
    study.source.write_text("SOME TEXT"[::-1].lower())
    os.utime(study.source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert study.source.stat().st_size == before.st_size
    assert reason_to_redo(study.out, study.stages()[0]) == f"inputs changed ({study.source.name})"


@pytest.mark.parametrize("ahead", [0.0, 1e8])
def test_a_checksum_is_remembered_only_of_files_that_rest(tmp_path: Path, ahead: float) -> None:
    """A file just written, or one from the future, may change again without a sign."""
    path, known = tmp_path / "a", {}
    path.write_bytes(b"abc")
    os.utime(path, (path.stat().st_mtime + ahead,) * 2)
    checksum(path, known)
    assert known == {}


@pytest.mark.parametrize("damage", ["{", '{"a": 1}', '{"content": {"/x": 3}, "sha256": "0"}', "\ud800"])
def test_damaged_notes_on_checksums_are_made_again(study: Study, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dualflux.run_folder.files._SETTLED", -(10**15))
    study.run()
    notes = study.out / MARKERS / "checksums.json"
    whole = read_sealed(notes)
    assert whole is not None and str(study.source.resolve()) in whole
    notes.write_bytes(damage.encode("utf-8", "surrogatepass"))
    assert study.run() == []
    study.settings = {"factor": 2}
    study.run()
    assert read_sealed(notes) == whole


@settings(max_examples=50, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_sealed_file_is_whole_or_nothing(where: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    content = {"a": [1, 2.5, None], "ü": {"b": "text"}}
    write_sealed(path, content)
    damaged = bytearray(path.read_bytes())
    damaged[int(where * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    assert read_sealed(path) in (None, content)


def test_asking_writes_nothing(study: Study) -> None:
    """`status` of a finished folder works where it may not be written."""
    study.run()
    before = {p: p.stat().st_mtime_ns for p in study.out.rglob("*")}
    (study.out / MARKERS / "checksums.json").unlink(missing_ok=True)
    before.pop(study.out / MARKERS / "checksums.json", None)
    before[study.out / MARKERS] = (study.out / MARKERS).stat().st_mtime_ns
    assert is_done(study.out, study.stages()[0])
    assert {p: p.stat().st_mtime_ns for p in study.out.rglob("*")} == before


def test_stages_are_listed_in_order_whatever_the_clock_said(study: Study) -> None:
    study.run()
    path = study.out / MARKERS / "stage_copy.json"
    marker = read_sealed(path)
    assert marker is not None
    write_sealed(path, {**marker, "finished": "2999-01-01T00:00:00+00:00"})
    study.run()
    found = json.loads((study.out / "provenance.json").read_text())
    assert [s["name"] for s in found["stages"]] == ["copy", "count"]


# --- full disks ---

SMALL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, -1))\n"


def in_process(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_a_disk_that_refuses_does_not_crash_hdf5(tmp_path: Path) -> None:
    """Without care the library ends the process (segmentation fault) when such a file is closed."""
    code = SMALL + (
        "import os, numpy as np, xarray as xr\nfrom pathlib import Path\nfrom dualflux.run_folder.hdf5_output import write_netcdf\n"
        "data = xr.Dataset({'a': (('x', 'y'), np.random.default_rng(0).normal(size=(100, 1000)))})\n"
        "for encoding in (None, {'a': {'zlib': True}}):\n"
        "    try:\n        write_netcdf(data, Path('a.nc'), encoding)\n"
        "    except OSError as error:\n        print(error.errno, error.filename.replace(str(os.getpid()), 'PROCESS'))\n"
    )
    done = in_process(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(errno.EFBIG), ".a.nc.PROCESS.tmp"] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_product_on_a_disk_that_refuses_is_not_there(tmp_path: Path) -> None:
    code = SMALL + (
        "import sys; sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else '')\n"
        "import numpy as np, pandas as pd\nfrom pathlib import Path\nfrom dualflux.grid import Grid, LandCells, Regions\n"
        "from dualflux.prediction.netcdf_product import ProductWriter\n"
        "grid = Grid.global_regular(5.0)\nregions = Regions(('all',), np.ones((1, *grid.shape)))\n"
        "cells = LandCells.build(grid, np.ones(grid.shape), regions)\n"
        "times, random = pd.date_range('2001-01-01', periods=24, freq='MS'), np.random.default_rng(0)\n"
        "try:\n"
        "    with ProductWriter(Path('p/nee.nc'), cells, times, None, {}, grid.cell_area) as writer:\n"
        "        for t in range(24):\n"
        "            flux = random.normal(size=(2, len(cells.index)))\n"
        "            writer.write(t, flux, flux, np.zeros(len(cells.index)))\n"
        "except OSError as error:\n    print(error.errno, t < 23)\n"
    )
    done = in_process(code, tmp_path)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", [str(errno.EFBIG), "True"])
    assert list((tmp_path / "p").iterdir()) == []


def test_written_netcdf_is_what_was_given(tmp_path: Path) -> None:
    data = xr.Dataset({"a": (("x", "y"), np.arange(6.0).reshape(2, 3), {"units": "m"})}, {"x": ["p", "ü"]}, {"title": "t"})
    write_netcdf(data, tmp_path / "a.nc", {"a": {"zlib": True}})
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "a.nc", engine="h5netcdf"), data)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("seek"), st.integers(0, 100)),
        st.tuples(st.just("read"), st.integers(0, 50)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS, room=st.integers(0, 120))
def test_a_patient_file_is_a_file_whatever_the_disk_says(
    operations: list[tuple[str, object]], room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The disk takes `room` bytes, then refuses; what was written is read back all the same, and the error is kept."""
    path = tmp_path_factory.mktemp("patient") / "a"
    file, model = PatientFile(path), io.BytesIO()
    real = os.pwrite

    def refusing(descriptor: int, data: bytes, at: int) -> int:
        if at + len(data) <= room:
            return real(descriptor, data, at)
        if at < room:
            return real(descriptor, data[: room - at], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", refusing)
        for name, value in operations:
            found, expected = (getattr(f, name)(value) for f in (file, model))
            assert found == expected
        file.seek(0)
        assert file.read() == model.getvalue()
    file.close()
    if len(model.getvalue()) <= room:
        assert file.error is None and path.read_bytes() == model.getvalue()
    else:
        with pytest.raises(OSError, match="No space left on device"):
            file.raise_error()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, "x", "run/a.nc"),
            "run/a.nc: the disk is full; make room or choose another --out; stages that were done are kept",
        ),
        (OSError(errno.EDQUOT, "x"), "the disk quota is used up; make room"),
        (
            OSError("100 requested and 50 written"),
            "the disk is full, or the file would be larger than this disk or account allows; make room",
        ),
        (OSError(errno.EROFS, "x", "run"), "run: the disk is read-only"),
        (OSError(errno.EMFILE, "x", "a"), "a: Too many open files"),
        (OSError(errno.EACCES, "x", "a"), "a: Permission denied; see that it is there and may be read and written"),
        (OSError(errno.ESTALE, "x", "a"), "a: Stale file handle"),
        (MemoryError("Unable to allocate 4.00 TiB"), r"not enough memory \(Unable to allocate 4.00 TiB\); `dualflux check` says"),
        (MemoryError(), "not enough memory; `dualflux check` says"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "not enough memory"),
        (RuntimeError("INTERNAL: std::bad_alloc"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (ImportError("libjax_common.so: failed to map segment from shared object"), "not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_sentence(error: BaseException, says: str) -> None:
    said = machine_problem(error)
    assert said is not None and re.match(says, said) and "\n" not in said


def test_what_a_library_wraps_is_found() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "x", "run/a.nc")
        except OSError as error:
            raise RuntimeError("cannot decrement id ref count") from error
    except RuntimeError as error:
        assert "the disk is full" in str(machine_problem(error))


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("x"),
        ImportError("no module named x"),
        SystemError("x"),
        RuntimeError("stage a did not write b"),
        OSError(errno.EINVAL, "x"),
        OSError("x"),
    ],
)
def test_a_defect_of_ours_is_none_of_the_machines(error: BaseException) -> None:
    assert machine_problem(error) is None


# --- terminals ---


def test_a_reader_that_goes_does_not_end_the_command(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom dualflux.run_folder.unread_output import UnreadOutput\nsys.stdin.readline()\nout = UnreadOutput(sys.stdout)\n"
        "for _ in range(1000):\n    print('x' * 1000, file=out)\nout.flush()\nopen('done', 'w').close()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdin is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stderr.read() == b"" and process.wait(60) == 0
    process.stderr.close()
    assert (tmp_path / "done").exists()


def test_a_full_disk_behind_the_output_is_no_silence() -> None:
    class Full(io.StringIO):
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        UnreadOutput(Full()).write("x")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_letters_gets_escapes(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    print("Zürich \u65e5 −", file=UnreadOutput(stream), flush=True)
    assert raw.getvalue().decode(encoding).startswith("Z") and b"rich" in raw.getvalue()


def test_closed_standard_streams_are_no_place_for_results(tmp_path: Path) -> None:
    """Without care the first file that is opened gets the number of the missing stderr, and messages of libraries end in it."""
    code = (
        "import os, sys\nfrom dualflux.run_folder.unread_output import occupy_standard_files\noccupy_standard_files()\n"
        "file = open('a', 'w')\nfile.write(str(file.fileno() > 2))\nfile.close()\nos.write(2, b'noise')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, preexec_fn=lambda: [os.close(n) for n in range(3)])
    assert done.returncode == 0 and (tmp_path / "a").read_text() == "True"


@pytest.mark.parametrize("command", ["status", "run", "check"])
def test_a_study_that_is_a_folder_or_has_an_endless_name_is_named(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert main([command, str(path)]) == 2
        assert capsys.readouterr().err.startswith("dualflux: error: ")


def test_a_stage_killed_by_the_system_frees_its_lock(study: Study, tmp_path: Path) -> None:
    """kill -9 inside a stage: the lock goes with the process, the stage is not done, the files before it are."""
    code = (
        f"import os, signal, sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom pathlib import Path\n"
        f"from test_stages import Study\nfrom dualflux.run_folder.run_folder import RunFolder\nstudy = Study(Path({str(tmp_path)!r}))\n"
        "copy, count = study.stages()\n"
        "with RunFolder(study.out, 7, say=print) as run:\n    run.stage(copy, study.copy)\n"
        "    run.stage(count, lambda folder: (study.count(folder), os.kill(os.getpid(), signal.SIGKILL)))\n"
    )
    assert in_process(code, tmp_path).returncode == -signal.SIGKILL
    first, second = study.stages()
    assert is_done(study.out, first) and reason_to_redo(study.out, second) == "not done yet"
    assert study.run() == ["count"]
    assert "ended before it was done; going on in its folder" in study.said[0]


def test_a_limit_on_files_is_said_by_the_command(tmp_path: Path) -> None:
    """From the system to the sentence: `init` where no byte may be written."""
    arguments = [sys.executable, "-m", "dualflux.cli", "init", str(tmp_path / "new")]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    )
    assert done.returncode == 2
    assert done.stderr.startswith("dualflux: error: ") and "the file would be larger" in done.stderr and "Traceback" not in done.stderr


CHILD = "import os, sys\nfrom dualflux import cli\n"


@pytest.mark.parametrize(
    ("work", "status", "says"),
    [
        ("os.abort()", 2, "not enough memory (a library ended the process with SIGABRT; memory is limited to 64.0 GB)"),
        ("7", 7, ""),
        ("print('said') or 7", 7, ""),
        ("bytes(2 * 10**11) and 0", 2, "not enough memory"),
    ],
)
def test_a_library_that_aborts_under_a_limit_of_memory_is_said_in_a_sentence(tmp_path: Path, work: str, status: int, says: str) -> None:
    """std::bad_alloc that nobody catches ends a process without a word; here somebody is left to say it."""
    code = f"{CHILD}cli.typer.main.get_command = lambda app: type('c', (), {{'main': lambda *a, **k: {work}}})\nsys.exit(cli.main([]))"
    limit = (64 * 10**9, 64 * 10**9)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        preexec_fn=lambda: (resource.setrlimit(resource.RLIMIT_AS, limit), resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
    )  # fmt: skip
    assert done.returncode == status and says in done.stderr and "Traceback" not in done.stderr
    assert ("said" in done.stdout) == ("said" in work)


def test_too_little_memory_for_the_libraries_is_said_before_they_are_loaded(tmp_path: Path) -> None:
    """OpenBLAS, loaded with 0.6 GB of address space, tried for ever to set itself up."""
    done = subprocess.run(
        [sys.executable, "-m", "dualflux.cli", "check", "study.yaml"], capture_output=True, text=True, check=False, timeout=60,
        cwd=tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000)),
    )  # fmt: skip
    assert done.returncode == 2 and "memory is limited to 0.6 GB, and the libraries alone take 0.9 GB" in done.stderr


@pytest.mark.parametrize("limited", [False, True], ids=["free", "limited memory"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_stops_the_work_once(tmp_path: Path, limited: bool, number: signal.Signals) -> None:
    work = "(print('working', flush=True), __import__('time').sleep(100))"
    usual = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # tests under nohup start with it ignored
    run = f"{CHILD}cli.typer.main.get_command = lambda app: type('c', (), {{'main': lambda *a, **k: {work}}})\nsys.exit(cli.main([]))"
    code = usual + run
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: limited and resource.setrlimit(resource.RLIMIT_AS, (64 * 10**9, 64 * 10**9)),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    process.send_signal(number)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and said.count("interrupted") == 1 and number.name in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGXCPU])
def test_an_interruption_that_falls_into_a_garbage_collection_is_not_lost(tmp_path: Path, number: signal.Signals) -> None:
    """Python drops what is raised there; JAX has such a callback, and a run went on as if nobody had asked."""
    lines = [
        "import gc, signal, time", "signal.signal(signal.SIGINT, signal.default_int_handler)",
        f"gc.callbacks.append(lambda phase, info: phase == 'start' and signal.raise_signal({int(number)}))",
        "work = lambda *a, **k: (gc.collect(), gc.callbacks.pop(), time.sleep(20))",
        "cli.typer.main.get_command = lambda app: type('c', (), {'main': work})",
        "sys.exit(cli.main([]))",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CHILD + "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 130 and done.stderr.count("interrupted") == 1 and "ignored" not in done.stderr


def test_a_closed_terminal_does_not_end_what_was_started_with_nohup(tmp_path: Path) -> None:
    work = "(print('working', flush=True), __import__('time').sleep(1.0), 0)[2]"
    code = f"{CHILD}cli.typer.main.get_command = lambda app: type('c', (), {{'main': lambda *a, **k: {work}}})\nsys.exit(cli.main([]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGHUP)
    assert process.wait(300) == 0
    process.stdout.close()


def test_stage_without_its_folder_says_so(tmp_path: Path) -> None:
    """A run folder that is taken away under a run."""
    out = tmp_path / "run"

    def action(folder: Path) -> None:
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        out.rmdir()

    with pytest.raises((FileNotFoundError, RuntimeError)) as caught, RunFolder(out, 7, say=lambda line: None) as run:
        run.stage(Stage("a", {}, outputs=["a/a"]), action)
    assert "did not write a/a" in str(caught.value) or machine_problem(caught.value)

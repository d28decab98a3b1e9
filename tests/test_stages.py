"""A stage is kept exactly when nothing it depends on, and nothing it wrote, has changed."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.run_folder.files import checksum
from dualflux.run_folder.pulse import Manner
from dualflux.run_folder.run_folder import MARKERS, RunFolder, Stage, is_done, reason_to_redo, states

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # FIPS 180-4 test vector: no input
ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4 test vector: "abc"


class Study:
    """Two stages: `copy` writes the upper-case input, `count` writes its length."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "data with space é.txt"
        self.source.write_text("some text")
        self.out = folder / "run"
        self.ran: list[str] = []
        self.said: list[str] = []
        self.settings: dict[str, object] = {"factor": 1}

    def stages(self) -> tuple[Stage, Stage]:
        return (
            Stage("copy", self.settings, inputs=[self.source], outputs=["a/copy.txt"], optional=["a/other.txt"]),
            Stage("count", {}, outputs=["b/count.txt"], after=["copy"]),
        )

    def copy(self, folder: Path) -> None:
        self.ran.append("copy")
        (folder / "a").mkdir(exist_ok=True)
        (folder / "a/copy.txt").write_text(self.source.read_text().upper())

    def count(self, folder: Path) -> None:
        self.ran.append("count")
        (folder / "b").mkdir(exist_ok=True)
        (folder / "b/count.txt").write_text(str(len((folder / "a/copy.txt").read_text())))

    def run(self) -> list[str]:
        """Run both stages; the names of those that were not kept."""
        self.ran = []
        copy, count = self.stages()
        with RunFolder(self.out, seed=7, citations=["Upton et al. 2024"], say=self.said.append) as run:
            run.stage(copy, self.copy)
            run.stage(count, self.count)
        return self.ran


def write(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_done_stages_are_kept(study: Study) -> None:
    assert study.run() == ["copy", "count"]
    assert study.run() == []
    assert all(is_done(study.out, stage) for stage in study.stages())


def test_changed_setting_redoes_its_stage_and_names_it(study: Study) -> None:
    study.run()
    study.settings = {"factor": 2}
    assert reason_to_redo(study.out, study.stages()[0]) == "settings changed (factor)"
    assert study.run() == ["copy"]  # its result came out the same, so what stands on it is kept


def test_changed_input_redoes_all_that_stands_on_it(study: Study) -> None:
    study.run()
    study.source.write_text("another text")
    assert reason_to_redo(study.out, study.stages()[0]) == f"inputs changed ({study.source.name})"
    assert study.run() == ["copy", "count"]
    assert (study.out / "b/count.txt").read_text() == "12"


def test_moved_but_equal_input_is_kept(study: Study) -> None:
    study.run()
    study.source = study.source.rename(study.source.with_name("moved.txt"))
    assert study.run() == []


def test_program_change_redoes(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.run()
    files = {f"room/{i}.py": "0" for i in range(5)}
    monkeypatch.setattr("dualflux.run_folder.stage.program_of", lambda modules: files)
    words = "the program changed (room/0.py, room/1.py, room/2.py and 2 more)"
    assert reason_to_redo(study.out, study.stages()[0]) == words


def test_missing_output_is_redone(study: Study) -> None:
    study.run()
    (study.out / "a/copy.txt").unlink()
    assert reason_to_redo(study.out, study.stages()[0]) == "its output a/copy.txt is missing"
    assert study.run() == ["copy"]


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    study = Study(tmp_path_factory.mktemp("flipped"))
    study.run()
    yield study


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), marker=st.booleans())
def test_any_flipped_bit_is_noticed(finished: Study, where: float, bit: int, marker: bool) -> None:
    stage = finished.stages()[0]
    path = finished.out / (f"{MARKERS}/stage_copy.json" if marker else "a/copy.txt")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(where * len(whole))] ^= 1 << bit
    same_json = marker and _same_json(bytes(damaged), whole)
    path.write_bytes(damaged)
    found = is_done(finished.out, stage)
    path.write_bytes(whole)
    assert found == same_json  # white space between the marker's values is no damage
    assert is_done(finished.out, stage)


def _same_json(first: bytes, second: bytes) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


def test_failed_action_leaves_the_stage_undone(study: Study) -> None:
    study.run()
    study.settings = {"factor": 3}

    def fails(folder: Path) -> None:
        study.copy(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(study.stages()[0], fails)
    assert reason_to_redo(study.out, study.stages()[0]) == "not done yet"
    assert study.run() == ["copy"]


def test_files_of_an_outdated_run_are_removed_and_foreign_ones_stay(study: Study) -> None:
    study.run()
    (study.out / "notes.txt").write_text("mine")
    study.settings = {"factor": 4}
    with RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(replace(study.stages()[0], outputs=[]), lambda folder: write(folder, "a/other.txt"))
    assert sorted(p.name for p in (study.out / "a").iterdir()) == ["other.txt"]
    assert (study.out / "notes.txt").exists()


def test_input_that_changes_during_the_stage_is_refused(study: Study) -> None:
    def meddle(folder: Path) -> None:
        study.copy(folder)
        study.source.write_text("changed under way")

    match = f"stage copy: inputs changed .{study.source.name}. while the stage ran"
    with pytest.raises(InputError, match=match), RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(study.stages()[0], meddle)
    assert not is_done(study.out, study.stages()[0])


def test_all_missing_inputs_are_named(study: Study, tmp_path: Path) -> None:
    stage = Stage("copy", {}, inputs=[tmp_path / "one.nc", tmp_path / "two.nc"])
    with pytest.raises(InputError) as caught, RunFolder(study.out, 7) as run:
        run.stage(stage, study.copy)
    assert ["one.nc" in caught.value.problems[0], "two.nc" in caught.value.problems[1]] == [True, True]


def test_action_that_writes_nothing_is_a_defect(study: Study) -> None:
    with pytest.raises(RuntimeError, match=r"did not write a/copy\.txt"), RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(study.stages()[0], lambda folder: None)


def test_action_that_writes_what_its_plan_does_not_name_is_a_defect(study: Study) -> None:
    def more(folder: Path) -> None:
        study.copy(folder)
        write(folder, "a/deep/more.txt")

    match = "copy wrote a/deep/more.txt, which its plan does not name"
    with pytest.raises(RuntimeError, match=match), RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(study.stages()[0], more)
    assert not is_done(study.out, study.stages()[0])


def test_states_say_why_and_who_waits(study: Study) -> None:
    assert states(study.out, study.stages()) == {"copy": "not done yet", "count": "waits for copy"}
    study.run()
    assert states(study.out, study.stages()) == {"copy": None, "count": None}


def test_provenance(study: Study) -> None:
    study.run()
    study.run()
    found = json.loads((study.out / "provenance.json").read_text())
    assert found["format"] == 2 and found["seed"] == 7 and found["citations"] == ["Upton et al. 2024"]
    assert [s["name"] for s in found["stages"]] == ["copy", "count"]
    assert all(s["seconds"] >= 0 and s["peak_memory_gb"] > 0.001 for s in found["stages"])
    assert found["inputs"] == [{"path": str(study.source), "bytes": 9, "sha256": checksum(study.source)["sha256"]}]
    assert {"dualflux", "python", "jax"} <= set(found["versions"])


def test_checksums_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "abc").write_bytes(b"abc")
    assert checksum(tmp_path / "empty")["sha256"] == EMPTY_SHA256
    assert checksum(tmp_path / "abc") == {"path": str(tmp_path / "abc"), "bytes": 3, "sha256": ABC_SHA256}


def test_folder_checksum_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    for name in ("one", "two", "renamed"):
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "c" / ("0.1" if name == "renamed" else "0.0")).write_bytes(b"abc")
    one, two, renamed = (checksum(tmp_path / name) for name in ("one", "two", "renamed"))
    assert one["sha256"] == two["sha256"] != renamed["sha256"]
    assert one["bytes"] == 3


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as unchanged at once, not only after some seconds."""
    monkeypatch.setattr("dualflux.run_folder.files._SETTLED", -(10**15))


def test_known_checksum_is_used_until_size_or_time_change(tmp_path: Path, settled: None) -> None:
    path, known = tmp_path / "abc", {}
    path.write_bytes(b"abc")
    assert checksum(path, known)["sha256"] == ABC_SHA256
    known[str(path.resolve())]["sha256"] = "from the cache"
    assert checksum(path, known)["sha256"] == "from the cache"
    os.utime(path, (1, 1))
    assert checksum(path, known)["sha256"] == ABC_SHA256


def test_second_run_in_the_same_folder_is_refused(study: Study) -> None:
    match = f"another run .process {os.getpid()} on .*; wait until it ends, or choose another --out"
    with RunFolder(study.out, 7), pytest.raises(InputError, match=match), RunFolder(study.out, 7):
        pass
    with RunFolder(study.out, 7, say=study.said.append):
        assert study.said == []  # released, so nothing to take over


def _hold(out: Path) -> None:
    with RunFolder(out, 7):
        time.sleep(60)


def test_folder_of_a_killed_run_is_taken_over(study: Study) -> None:
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(study.out,))
    holder.start()
    lock = study.out / MARKERS / "lock"
    for _ in range(600):
        if lock.exists() and lock.read_text():
            break
        time.sleep(0.1)
    with pytest.raises(InputError, match=f"process {holder.pid} "), RunFolder(study.out, 7):
        pass
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    assert study.run() == ["copy", "count"]
    assert f"process {holder.pid} " in study.said[0] and "going on in its folder" in study.said[0]


def test_lock_left_by_another_host_is_taken_over_only_when_the_user_says_so(study: Study) -> None:
    (study.out / MARKERS).mkdir(parents=True)
    lock = study.out / MARKERS / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "another-host", "since": "2020-01-01T00:00:00+00:00"}))
    with (
        pytest.raises(InputError, match=r"another-host.*if it has ended, give the command again with --take-over"),
        RunFolder(study.out, 7),
    ):
        pass
    with RunFolder(study.out, 7, say=study.said.append, manner=Manner(take_over=True)):
        assert "another-host" in study.said[0] and "going on in its folder" in study.said[0]
    assert study.run() == ["copy", "count"]


def test_a_run_that_can_be_seen_to_work_is_never_taken_over(study: Study) -> None:
    match, second = "is working in this folder", RunFolder(study.out, 7, manner=Manner(take_over=True))
    with RunFolder(study.out, 7), pytest.raises(InputError, match=match), second:
        pass


def test_stage_needs_the_lock(study: Study) -> None:
    with pytest.raises(RuntimeError, match="needs the lock"):
        RunFolder(study.out, 7).stage(study.stages()[0], study.copy)

"""The user's files are the user's: nothing of theirs in a run folder is written to, moved, removed or taken for a result."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dualflux.cli import main
from dualflux.errors import InputError
from dualflux.run_folder.files import read_sealed, write_sealed
from dualflux.run_folder.log import LOG
from dualflux.run_folder.own_files import ours, refuse_foreign, refuse_own, write_own
from dualflux.run_folder.pulse import STEP, Manner, pulse, read_pulse
from dualflux.run_folder.run_folder import MARKERS, RunFolder, is_done, reason_to_redo
from dualflux.run_folder.stage import matches, read_marker
from dualflux.run_folder.unread_output import UnreadOutput
from dualflux.stages.plan import stage_plan
from dualflux.study.settings import load_study
from test_stages import Study, write


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


# --- names of results ---


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing", "file where a folder goes"])
def test_a_users_file_under_a_results_name_is_refused_before_anything_is_computed(study: Study, kind: str) -> None:
    path = study.out / ("a" if kind == "file where a folder goes" else "a/copy.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to(study.out / "nowhere")
    else:
        path.write_text("mine")
    match = re.escape(f"{path}: dualflux did not write this, and the results of stage copy go there; nothing was overwritten")
    with pytest.raises(InputError, match=match):
        study.run()
    assert study.ran == [] and os.path.lexists(path) and (kind in ("folder", "link to nothing") or path.read_text() == "mine")


def test_all_of_them_are_named_before_the_first_stage(study: Study) -> None:
    write(study.out, "a/copy.txt")
    write(study.out, "b/count.txt")
    with RunFolder(study.out, 7) as run, pytest.raises(InputError) as caught:
        run.refuse_foreign(study.stages())
    assert [p.split(": ")[0] for p in caught.value.problems] == [str(study.out / name) for name in ("a/copy.txt", "b/count.txt")]


def test_a_file_that_comes_while_the_stage_runs_is_refused_too(study: Study) -> None:
    def meanwhile(folder: Path) -> None:
        study.copy(folder)
        write(study.out, "a/copy.txt")

    with pytest.raises(InputError, match="dualflux did not write this"), RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(study.stages()[0], meanwhile)
    assert (study.out / "a/copy.txt").read_text() == "x" and not is_done(study.out, study.stages()[0])
    (study.out / "a/copy.txt").unlink()
    assert study.run() == ["copy", "count"]


def test_a_file_of_the_users_where_a_killed_stage_did_not_get_to_is_theirs(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when names are noted and no file is in its place; then the user saves one under such a name."""

    class Killed(BaseException):
        pass

    def killed(*_: Path) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("dualflux.run_folder.own_files._move", killed)
        study.run()
    write(study.out, "a/copy.txt")
    with pytest.raises(InputError, match="dualflux did not write this"):
        study.run()
    assert (study.out / "a/copy.txt").read_text() == "x"


def test_a_users_file_beside_the_results_is_no_reason_to_redo(study: Study) -> None:
    study.run()
    for name in ("a/mine.txt", "a/other.txt.bak", "b/deep/count.txt"):
        write(study.out, name)
    assert study.run() == []


def test_names_that_only_data_know_are_the_users_too_once_a_run_has_begun(study: Study) -> None:
    """``figures/seasonal_cycle_talk.png`` beside ``figures/seasonal_cycle_EU.png``: refused in a fresh folder, kept later."""
    copy = replace(study.stages()[0], optional=["a/cycle_*.txt"])
    write(study.out, "a/cycle_mine.txt")
    with pytest.raises(InputError, match=r"cycle_mine\.txt"), RunFolder(study.out, 7) as run:
        run.stage(copy, study.copy)
    (study.out / "a/cycle_mine.txt").unlink()
    for factor in (1, 2):
        with RunFolder(study.out, 7, say=study.said.append) as run:
            run.stage(replace(copy, settings={"factor": factor}), study.copy)
        write(study.out, "a/cycle_mine.txt")
    assert (study.out / "a/cycle_mine.txt").read_text() == "x"


@pytest.mark.parametrize("name", ["../outside.txt", "/absolute.txt", "a/../../outside.txt"])
def test_notes_that_name_files_outside_the_folder_are_not_followed(study: Study, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.txt").write_text("mine")
    write_sealed(study.out / MARKERS / "begun_copy.json", {"files": {name: "0"}})
    assert ours(study.out, "copy") == {}
    study.run()
    assert (tmp_path / "outside.txt").read_text() == "mine"


def test_a_results_folder_on_another_disk_is_used(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has led ``a`` elsewhere by a link; moving across disks does not work by renaming."""
    (tmp_path / "elsewhere").mkdir()
    study.out.mkdir()
    (study.out / "a").symlink_to(tmp_path / "elsewhere")
    real = Path.replace

    def across(self: Path, target: Path) -> Path:
        if "workshop" in str(self):
            raise OSError(18, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", across)
    assert study.run() == ["copy", "count"]
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["copy.txt"] and study.run() == []


def test_a_stage_sees_the_results_it_depends_on_and_no_others(study: Study) -> None:
    study.run()
    write(study.out, "a/mine.txt")
    seen: list[list[str]] = []
    count = study.stages()[1]
    with RunFolder(study.out, 7, say=study.said.append) as run:
        for stage in (replace(count, name="x", outputs=["c"]), replace(count, name="y", outputs=["d"], after=[])):
            run.stage(
                stage,
                lambda folder, stage=stage: (  # type: ignore[misc]
                    seen.append(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.txt"))),
                    write(folder, stage.outputs[0]),
                ),
            )
    assert seen == [["a/copy.txt"], []]


def test_names_with_a_star_match_one_part_literally() -> None:
    assert matches("a/cycle_[x]?.png", "a/cycle_*.png") and not matches("a/cycle_x/y.png", "a/cycle_*.png")
    assert not matches("a/b.png", "a/[b].png") and not matches("ab", "ab*b")


# --- the run folder's own files ---


@pytest.fixture(name="starter")
def _starter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    main(["init", str(tmp_path / "project")])
    capsys.readouterr()
    return tmp_path / "project/study.yaml"


@pytest.mark.parametrize("how", ["dot", "absolute", "through a link", "a link to it", "of an earlier version"])
@pytest.mark.parametrize("command", ["run", "prepare", "report"])
def test_the_study_file_is_never_overwritten(
    starter: Path, how: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = starter.parent, starter.read_bytes()
    monkeypatch.chdir(folder)
    out, given = {"dot": ".", "through a link": str(folder.parent / "link")}.get(how, str(folder)), "study.yaml"
    if how == "through a link":
        (folder.parent / "link").symlink_to(folder)
    if how == "a link to it":
        given = "other.yaml"
        Path(given).symlink_to("study.yaml")
    if how == "of an earlier version":
        (folder / MARKERS).mkdir()
        (folder / MARKERS / "stage_prepare.json").write_text("{}")
    assert main([command, given, "--out", out]) == 2
    said = capsys.readouterr().err
    assert "study.yaml: this is the study file, and a run writes its own" in said and "choose another --out" in said
    assert starter.read_bytes() == before and not (folder / LOG).exists()


@pytest.mark.parametrize("name", ["study.yaml", "provenance.json", LOG, "report.html", "tables/summary.csv", "models/dual/weights.npz"])
def test_another_file_of_the_users_in_a_fresh_folder_is_refused(
    starter: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dualflux.study.settings.Study.input_files", lambda self: [])
    out = starter.parent / "out"
    write(out, name)
    assert main(["run", str(starter), "--out", str(out)]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert f"{out / name}: dualflux did not write this" in said
    assert (out / name).read_text() == "x" and not (out / MARKERS).exists()


def test_a_study_file_changed_by_hand_in_the_run_folder_is_kept(tmp_path: Path) -> None:
    write_own(tmp_path, "study.yaml", "one")
    write_own(tmp_path, "study.yaml", "two")
    assert (tmp_path / "study.yaml").read_text() == "two"
    (tmp_path / "study.yaml").write_text("one")  # as after a kill between the note and the file
    write_own(tmp_path, "study.yaml", "two")
    (tmp_path / "study.yaml").write_text("by hand")
    with pytest.raises(InputError, match="or it was changed since"):
        write_own(tmp_path, "study.yaml", "three")
    assert (tmp_path / "study.yaml").read_text() == "by hand"
    write_own(tmp_path, "study.yaml", "by hand")  # what would be written is there


def test_a_damaged_provenance_is_made_again_and_a_foreign_one_refused(study: Study, tmp_path: Path) -> None:
    study.run()
    (study.out / "provenance.json").write_text("{")
    study.run()
    assert json.loads((study.out / "provenance.json").read_text())["format"] == 2
    write(tmp_path / "fresh", "provenance.json")
    with pytest.raises(InputError, match="did not write this"):
        refuse_own(tmp_path / "fresh", "provenance.json", "")


# --- run folders of earlier versions ---


def rewrite(study: Study, **changes: object) -> None:
    path = study.out / MARKERS / "stage_copy.json"
    marker = read_sealed(path)
    assert marker is not None
    changed = {**marker, **changes}
    write_sealed(path, {k: v for k, v in changed.items() if v is not None})


def test_a_stage_of_an_earlier_version_is_redone_and_says_so(study: Study) -> None:
    """Its notes had one checksum of the whole program."""
    study.run()
    marker = read_marker(study.out, "copy")
    assert marker is not None
    rewrite(study, format=None, made_from={**marker["made_from"], "program": "0.1.0 0123456789abcdef"})
    (study.out / MARKERS / "written.json").unlink()
    assert reason_to_redo(study.out, study.stages()[0]) == "made by an earlier version of dualflux (0.1.0)"
    assert study.run() == ["copy"]
    assert study.run() == []


@pytest.mark.parametrize("changes", [{"made_from": None}, {"made_from": {}}, {"made_from": "x"}, {"outputs": None}, {"name": None}])
def test_notes_of_unknown_form_are_a_reason_and_no_traceback(study: Study, changes: dict[str, object]) -> None:
    study.run()
    rewrite(study, **changes)
    assert reason_to_redo(study.out, study.stages()[0]) == "its notes are damaged, or of another version of dualflux"
    assert "copy" in study.run()  # the note of its names, beside the marker, still says whose the file is


# --- what is said meanwhile ---


def test_a_line_says_how_far_a_stage_is(study: Study) -> None:
    def slowly(folder: Path) -> None:
        STEP.begin("copying 4 letters")
        for done in (1, 2, 3):
            STEP.advance(done, 4)
            time.sleep(0.1)
        study.copy(folder)

    with RunFolder(study.out, 7, say=study.said.append, manner=Manner(every=0.02)) as run:
        run.stage(study.stages()[0], slowly)
    lines = [line for line in study.said if "copying" in line]
    pattern = r"copy: copying 4 letters, \d of 4 \(\d+ %\)(, [\d.e+]+ per (s|min), [\d hmins]+ left)?, \d+ s so far, \d+\.\d GB"
    assert len(lines) >= 3 and all(re.fullmatch(pattern, line) for line in lines), lines
    assert any("left" in line for line in lines)
    logged = (study.out / LOG).read_text()
    assert all(line in logged for line in lines) and "copy: starts" in logged and "copy: wrote a/copy.txt (9 bytes)" in logged


def test_a_first_run_starts_and_a_second_says_why(study: Study) -> None:
    study.run()
    study.settings = {"factor": 5}
    study.run()
    starts = [line for line in study.said if "start" in line]
    assert starts == ["copy: starts", "count: starts", "copy: settings changed (factor); starts again"]


def test_quiet_says_nothing_and_logs_all(study: Study) -> None:
    def slowly(folder: Path) -> None:
        time.sleep(0.05)
        study.copy(folder)

    with RunFolder(study.out, 7, say=study.said.append, manner=Manner(quiet=True, every=0.01)) as run:
        run.stage(study.stages()[0], slowly)
    assert study.said == [] and "copy: done" in (study.out / LOG).read_text()


def test_the_end_by_an_error_is_logged(study: Study) -> None:
    def fails(folder: Path) -> None:
        raise InputError("first\nsecond")

    with pytest.raises(InputError), RunFolder(study.out, 7, say=study.said.append) as run:
        run.stage(study.stages()[0], fails)
    assert (study.out / LOG).read_text().splitlines()[-1].endswith("ended by InputError: first second")


def test_the_pulse_can_be_read_and_is_gone_afterwards(tmp_path: Path) -> None:
    with pulse(tmp_path, "train", print, Manner()):
        found = read_pulse(tmp_path)
        assert found is not None and (found["stage"], found["pid"]) == ("train", os.getpid())
        assert threading.active_count() > 1
    assert read_pulse(tmp_path) is None


def test_what_libraries_write_past_python_goes_to_the_log(tmp_path: Path) -> None:
    """A compiler's warning on the number of the standard error, from C; our own lines stay where they were."""
    code = (
        f"import os, sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom pathlib import Path\nfrom test_stages import Study\n"
        "from dualflux import cli\nfrom dualflux.run_folder.run_folder import RunFolder\nfrom dualflux.run_folder.pulse import Manner\n"
        f"study = Study(Path({str(tmp_path)!r}))\n"
        "def work(arguments):\n"
        "    with RunFolder(study.out, 7, say=lambda line: print(line, file=sys.stderr), manner=Manner(catch_noise=True)) as run:\n"
        "        run.stage(study.stages()[0], lambda folder: (os.write(2, b'E0000 slow_operation_alarm\\n'), study.copy(folder)))\n"
        "    os.write(2, b'afterwards\\n')\n    return 0\n"
        "cli._status = work\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert "copy: done" in done.stderr and "slow_operation" not in done.stderr and "afterwards" in done.stderr
    assert "E0000 slow_operation_alarm" in (tmp_path / "run" / LOG).read_text()


# --- names of files that steer a terminal ---

STEERING = "evil\x1b]0;title\x07\x1b[2J\x9b2J\u202e\r"


@pytest.mark.parametrize("command", ["run", "check", "status", "evaluate"])
def test_control_characters_of_a_file_name_do_not_reach_the_terminal(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path / f"{STEERING}.yaml")]) == 2
    captured = capsys.readouterr()
    assert "evil\\x1b]0;title\\x07" in captured.err
    assert not set("\x1b\x07\x9b\u202e\r") & set(captured.err + captured.out)


def test_control_characters_in_what_is_printed_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print(f"a\t{STEERING}\nb", file=UnreadOutput(sys.stdout, plain=True))
    said = capsys.readouterr().out
    assert said.startswith("a\tevil\\x1b") and said.endswith("\nb\n") and "\x1b" not in said


# --- status ---


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["status", *arguments]) == 0
    return capsys.readouterr().out


def begun(starter: Path, out: Path) -> Path:
    """A run folder as a killed or working run leaves it."""
    (out / MARKERS).mkdir(parents=True)
    (out / "study.yaml").write_text(load_study(starter, out=out).to_yaml(), encoding="utf-8")
    return out


@pytest.mark.parametrize("who", ["this process", "a dead one", "another computer"])
def test_status_of_a_folder_says_who_works_there(starter: Path, tmp_path: Path, who: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = begun(starter, tmp_path / "out")
    pid = {"this process": os.getpid(), "a dead one": 2**22 + 1, "another computer": 7}[who]
    host = "another" if who == "another computer" else socket.gethostname()
    (out / MARKERS / "lock").write_text(json.dumps({"pid": pid, "host": host, "since": "2026-01-02T03:04:05+00:00"}))
    note = {"stage": "train", "since": "2026-01-02T03:05:00+00:00", "step": "training 8 networks, 3 of 9 (33 %)", "memory_gb": 2.5}
    (out / MARKERS / "now.json").write_text(json.dumps({**note, "pid": pid, "host": host, "noted": "2026-01-02T03:06:00+00:00"}))
    said = status(capsys, str(out))
    assert f"process {pid} on {host}, since 2026-01-02T03:04:05" in said
    works = "train: runs since 2026-01-02T03:05:00+00:00, training 8 networks, 3 of 9 (33 %); 2.5 GB (as of 2026-01-02T03:06:00" in said
    assert works == (who != "a dead one")
    assert ("ended before it was done" in said) == (who == "a dead one") and ("seen there only" in said) == (who == "another computer")


def test_status_of_a_finished_stage_whose_inputs_are_elsewhere_says_when(
    starter: Path, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    out = begun(starter, study.out)
    (out / MARKERS).rmdir()
    (out / "study.yaml").unlink()
    study.run()
    begun_again = yaml.safe_load(starter.read_text(encoding="utf-8"))
    (out / "study.yaml").write_text(yaml.safe_dump(begun_again), encoding="utf-8")
    marker = out / MARKERS / "stage_copy.json"
    (out / MARKERS / "stage_prepare.json").write_bytes(marker.read_bytes())
    said = status(capsys, str(out))
    assert "nobody works here" in said and re.search(r"prepare: done, at 20\d\d-.* in \d s", said)
    assert "whether its inputs and settings are as they were cannot be seen: " in said


def test_status_of_what_is_no_run_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "some", "data.csv")
    assert main(["status", str(tmp_path / "some")]) == 2
    assert "no run folder, it has no .dualflux; there is: data.csv" in capsys.readouterr().err


def test_a_damaged_marker_does_not_make_strangers_of_the_results(copied_run: Path) -> None:
    """The note of the names stays beside the marker: the results are seen as ours, and may be made again."""
    stage = next(one for one in stage_plan(load_study(copied_run / "study.yaml", out=copied_run)) if one.name == "evaluate")
    (copied_run / MARKERS / "stage_evaluate.json").write_bytes(b'{"\xff\x00')
    refuse_foreign(copied_run, [stage])
    (copied_run / "tables/summary.csv").write_text("mine")
    with pytest.raises(InputError, match=r"summary\.csv: dualflux did not write this"):
        refuse_foreign(copied_run, [stage])

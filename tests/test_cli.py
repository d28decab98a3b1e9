"""The command line: what it calls, what it prints where, and its exit statuses 0, 1, 2 and 130."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import dualflux
from dualflux import pipeline
from dualflux.cli import main
from dualflux.errors import InputError
from dualflux.run_folder.pulse import Manner
from dualflux.study.settings import Study, load_study

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    assert main(["init", str(tmp_path / "my study é")]) == 0
    return tmp_path / "my study é" / "study.yaml"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of the pipeline, instead of their effect."""
    found: list[tuple[Any, ...]] = []
    for name in ("run", "status", "check", "demo"):
        monkeypatch.setattr(pipeline, name, lambda *a, name=name: found.append((name, *a)), raising=False)
    return found


def errors(text: str) -> list[str]:
    lines = text.splitlines()
    assert all(line.startswith("dualflux: error: ") for line in lines), text
    return lines


@pytest.mark.parametrize(
    ("command", "stages"),
    [("run", None), *((name, [name]) for name in ("prepare", "train", "upscale", "evaluate", "report"))],
)
def test_run_and_its_stages(study_file: Path, calls: list[tuple[Any, ...]], command: str, stages: list[str] | None) -> None:
    assert main([command, str(study_file), "--out", str(study_file.parent / "out")]) == 0
    [(name, study, out, asked, manner)] = calls
    assert (name, asked, manner) == ("run", stages, Manner(catch_noise=True))
    assert isinstance(study, Study) and out == study_file.parent / "out"


def test_default_out_is_beside_the_study_file(study_file: Path, calls: list[tuple[Any, ...]]) -> None:
    assert main(["run", str(study_file)]) == 0
    assert calls[0][2] == study_file.parent / "runs" / "my_study"


def test_check_and_status(study_file: Path, calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    assert main(["check", str(study_file), "--data-root", str(tmp_path)]) == 0
    assert main(["status", str(study_file), "--out", str(tmp_path / "out")]) == 0
    assert calls[0][0] == "check" and calls[0][1].root == tmp_path
    assert calls[1] == ("status", study_file, None, tmp_path / "out")


def test_demo(calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert main(["demo", "--full", "--out", str(tmp_path / "x")]) == 0
    assert calls == [("demo", False, tmp_path / "runs" / "demo"), ("demo", True, tmp_path / "x")]


def test_starter_study_loads_and_is_not_overwritten(study_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_study(study_file).settings.name == "my_study"
    capsys.readouterr()
    assert main(["init", str(study_file.parent)]) == 2
    assert "not overwritten" in errors(capsys.readouterr().err)[0]


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dualflux {dualflux.__version__}\n"
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in ("demo", "init", "check", "run", "prepare", "train", "upscale", "evaluate", "report", "status"))


def test_version_loads_nothing_heavy() -> None:
    code = "import sys; from dualflux.cli import main; main(['--version']); print(sorted({'jax', 'xarray', 'pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_one_line_per_problem(study_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_file.write_text("name: a\nsed: 1\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["run", str(study_file)]) == 2
    captured = capsys.readouterr()
    lines = errors(captured.err)
    assert captured.out == "" and len(lines) == 7
    assert any("line 2, sed: unknown key; did you mean `seed`?" in line for line in lines)


def test_problem_of_several_lines_stays_one_line(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise InputError(["first\n  problem", "second"])

    monkeypatch.setattr(pipeline, "run", fails)
    capsys.readouterr()
    assert main(["run", str(study_file)]) == 2
    assert errors(capsys.readouterr().err) == ["dualflux: error: first problem", "dualflux: error: second"]


@pytest.mark.parametrize("arguments", [["frobnicate"], ["run"], ["run", "a", "b"], ["run", "--bad", "a"], ["demo", "--out"], ["init"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert len(errors(capsys.readouterr().err)) == 1


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Permission denied"), (errno.EROFS, "the disk is read-only")]
)
def test_disk_problems_are_no_defects(
    number: int, says: str, study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(pipeline, "run", fails)
    capsys.readouterr()
    assert main(["run", str(study_file)]) == 2
    [line] = errors(capsys.readouterr().err)
    assert "/some/file" in line and says in line and "--out" in line


def test_defect_keeps_its_traceback(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(pipeline, "run", fails)
    with pytest.raises(ZeroDivisionError):  # the interpreter then prints it and exits with 1
        main(["run", str(study_file)])


def test_interruption(study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupted)
    capsys.readouterr()
    assert main(["run", str(study_file)]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1])
def test_signals_interrupt_a_process(kind: signal.Signals, study_file: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job starts with it ignored
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # and one under nohup with this
        "from dualflux import pipeline\nfrom dualflux.cli import main\n"
        "pipeline.run = lambda *_: (print('working', flush=True), time.sleep(60))\n"
        f"sys.exit(main(['run', {str(study_file)!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    process.send_signal(kind)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in text and "the same command goes on" in text
    assert (kind.name in text) == (kind != signal.SIGINT)


def readme_commands() -> list[str]:
    return [line for line in README.splitlines() if line.startswith("( cd ")]


def test_readme_has_two_setup_commands() -> None:
    commands = readme_commands()
    assert len(commands) == 2
    assert commands[0].endswith("dualflux demo )") and commands[1].endswith("-m pytest -n 2 )")
    assert all(shlex.split(c)[:3] == ["(", "cd", "$(git rev-parse --show-toplevel)"] for c in commands)


def test_checks_run_the_readme_test_command() -> None:
    script = (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    [pattern] = re.findall(r"tests=\"\$\(grep -m1 -- '([^']+)' README\.md\)\"", script)
    assert next(line for line in README.splitlines() if pattern in line) == readme_commands()[1]


def test_readme_names_what_there_is() -> None:
    for name in re.findall(r"`((?:docs|examples)/[\w./]+)`|\]\(((?:docs|examples)/[\w./]+)\)", README):
        path = name[0] or name[1]
        assert (REPOSITORY / path).is_file(), path


def test_citation_file_is_whole() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    assert citation["references"][0]["doi"] == "10.5194/acp-24-2555-2024"

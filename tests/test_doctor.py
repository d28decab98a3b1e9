"""What `dualflux doctor` says of an installation and a machine."""

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflux
from dualflux.cli import main
from dualflux.run_folder import doctor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = ["numpy>=1.26", "h5py>=3.11", "dask[distributed]>=2024.9; extra == 'scale'", "shapely>=2; extra == 'regions'"]


def test_what_is_missing_or_too_old_is_said_with_what_is_needed() -> None:
    found = doctor.findings(NEEDED, versions={"numpy": "1.25.2"}.get)
    assert [(one.requirement.name, one.good) for one in found] == [("numpy", False), ("h5py", False)]
    assert [str(one) for one in found] == ["numpy 1.25.2 (needs >=1.26): too old", "h5py - (needs >=3.11): missing"]


@given(major=st.integers(0, 5), minor=st.integers(0, 40))
def test_a_version_is_good_from_its_lower_bound_on(major: int, minor: int) -> None:
    [found] = doctor.findings(["numpy>=1.26"], versions={"numpy": f"{major}.{minor}"}.get)
    assert found.good == ((major, minor) >= (1, 26))


def test_a_prerelease_above_the_bound_is_good() -> None:
    assert doctor.findings(["numpy>=1.26"], versions={"numpy": "2.0.0rc1"}.get)[0].good


def test_an_extra_lists_only_what_it_adds() -> None:
    assert doctor.missing_of_extra(NEEDED, "regions", {}.get) == ["shapely"]
    assert doctor.missing_of_extra(NEEDED, "regions", {"shapely": "2.0"}.get) == []
    assert doctor.missing_of_extra([*NEEDED, "tomli>=2; python_version < '3'"], "scale", {}.get) == ["dask"]


def test_an_extra_of_a_dependency_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """jax is there, the plugin that its extra brings is not."""
    monkeypatch.setattr(metadata, "requires", lambda name: {"jax": ["plugin>=1; extra == 'cuda13'", "jaxlib>=1"]}[name])
    assert doctor.missing_of_extra(["jax[cuda13]; extra == 'gpu'"], "gpu", {"jax": "0.10"}.get) == ["plugin"]


def test_each_extra_of_the_project_has_its_purpose() -> None:
    assert set(doctor.EXTRAS) == set(PROJECT["optional-dependencies"])


def test_this_installation_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"dualflux {dualflux.__version__} in ")
    for requirement in PROJECT["dependencies"]:
        name = requirement.split(">=")[0]
        assert f"  {name} {metadata.version(name)} (needs >=" in said
    assert f"cores: {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} usable" in said
    assert f"device: {jax.devices()[0].device_kind}" in said


def test_a_broken_installation_is_an_error_that_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor.version_of
    monkeypatch.setattr(
        doctor, "findings", lambda needed, extra="", versions=None: [] if extra else [doctor.Finding(doctor.Requirement("zarr>=3"), None)]
    )
    monkeypatch.setattr(doctor, "version_of", lambda name: real(name) if name == "dualflux" else None)
    assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert said.err == "dualflux: error: zarr - (needs >=3): missing; repair it with: pip install 'zarr>=3'\n"
    assert "devices: unknown without jax" in said.out


def test_a_device_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("Unable to initialize backend\n'cuda'")

    monkeypatch.setattr(jax, "devices", fail)
    assert list(doctor.device_lines()) == ["devices: JAX cannot start them: Unable to initialize backend 'cuda'"]


def test_a_jobs_memory_is_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "_CGROUP_LIMITS", (limit,))
    machine = doctor.usable_memory()
    limit.write_text("max\n")
    assert doctor.usable_memory() == machine
    limit.write_text("1000000\n")
    assert doctor.usable_memory() == 1_000_000


def test_the_disk_of_a_folder_to_be_made_is_that_of_its_parent(tmp_path: Path) -> None:
    assert any(line.startswith(f"  disk of {tmp_path}: ") for line in doctor.examine(tmp_path / "runs/new")[0])


@pytest.mark.skipif(sys.platform == "win32", reason="shells of Linux and macOS")
def test_the_shell_completes_commands() -> None:
    """As bash asks for it: the words so far, and the place of the one to complete."""
    words = {"COMP_WORDS": "dualflux do", "COMP_CWORD": "1", "_DUALFLUX_COMPLETE": "complete_bash"}
    program = "import sys; from dualflux.cli import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **words}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.split() == ["doctor"], done.stderr

"""What is installed is whole: data files, version, commands. Run on the wheel too, away from the checkout."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import dualflux

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_CODE = sorted(
    str(path.relative_to(ROOT / "src/dualflux"))
    for path in (ROOT / "src/dualflux").rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc"}
)


def test_the_package_has_files_that_are_no_code() -> None:
    assert {"py.typed", "data/gcp18.nc", "data/starter_study.yaml", "report/template.html"} <= set(NOT_CODE)


@pytest.mark.parametrize("name", NOT_CODE)
def test_each_file_beside_the_code_is_installed_as_it_is(name: str) -> None:
    assert resources.files("dualflux").joinpath(name).read_bytes() == (ROOT / "src/dualflux" / name).read_bytes()


def test_each_module_is_installed() -> None:
    source = {path.relative_to(ROOT / "src/dualflux") for path in (ROOT / "src/dualflux").rglob("*.py")}
    package = Path(dualflux.__file__).parent
    assert source == {path.relative_to(package) for path in package.rglob("*.py")}


def test_version_of_package_code_and_command_agree() -> None:
    done = subprocess.run([sys.executable, "-m", "dualflux.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"dualflux {dualflux.__version__}"
    assert metadata.version("dualflux") == dualflux.__version__


def test_dependencies_are_those_of_the_project_and_have_lower_bounds_only() -> None:
    extras = [one for group in PROJECT["optional-dependencies"].values() for one in group]
    assert [one for one in [*PROJECT["dependencies"], *extras] if "<" in one or "==" in one or "~" in one] == []
    installed = {one.replace(" ", "") for one in metadata.requires("dualflux") or [] if "extra" not in one}
    assert installed == set(PROJECT["dependencies"])


def test_all_that_is_imported_is_declared() -> None:
    """Top-level imports anywhere in the package, without those of the standard library."""
    found = set()
    for path in (ROOT / "src/dualflux").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            found |= {name.split(".")[0] for name in names}
    found -= {*sys.stdlib_module_names, "dualflux"}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {name for group in groups for one in group for name in re.findall(r"[\w-]+", one.split(">=")[0])}
    called = {"PyYAML": "yaml", "scikit-learn": "sklearn", "google-crc32c": "google_crc32c"}
    brought_along = {"jaxtyping", "pydantic_core"}  # by equinox and pydantic, which cannot be there without them
    assert found - {called.get(one, one) for one in declared} - brought_along == set()

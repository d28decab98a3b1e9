"""The pages stay true: code on them runs and prints what they say, study lines are valid, links lead somewhere, no module is left out."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dualflux
from test_data_sources import snippets, validate

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NEED_NOTHING = ("howto/towers", "howto/predictors", "howto/inversions", "howto/regions")
NEED_A_RUN = ("tutorial", "howto/products", "howto/python")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: str) -> list[tuple[str, str | None]]:
    """Python blocks of a page with what stands below as their output; examples with prompts are doctests, which pytest runs."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", text, flags=re.DOTALL | re.MULTILINE)
    return [(code, output or None) for code, output in found if not code.startswith(">>>")]


def run_page(page: str) -> None:
    """Run a page's blocks one after the other in one namespace."""
    names: dict[str, Any] = {}
    for number, (code, expected) in enumerate(blocks(page), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page}.md, block {number}", "exec"), names)
        assert printed.getvalue().splitlines() == (expected or "").splitlines(), f"{page}.md, block {number}"


@pytest.mark.parametrize("page", NEED_NOTHING)
def test_a_how_to_page_prints_what_it_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert blocks(page)
    run_page(page)


@pytest.mark.parametrize("page", NEED_A_RUN)
def test_a_page_about_a_run_prints_what_it_says(page: str, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_run.parents[1])
    assert blocks(page)
    run_page(page)


def test_every_page_with_blocks_is_run() -> None:
    with_blocks = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if blocks(str(page.relative_to(DOCS))[:-3])}
    assert with_blocks == {*NEED_NOTHING, *NEED_A_RUN}


@pytest.mark.parametrize("page", [*NEED_NOTHING, *NEED_A_RUN])
def test_lines_for_a_study_file_are_valid(page: str) -> None:
    for snippet in snippets(page):
        for key, value in snippet.items():
            validate(key, value)


def test_the_notebook_runs_and_draws_its_figure(tiny_run: Path, tmp_path: Path) -> None:
    """Its own assertions hold: the table is the map, and the members average to it."""
    environment = {**os.environ, "DUALFLUX_RUN": str(tiny_run), "MPLBACKEND": "agg"}
    script = ROOT / "examples/notebook/finished_run.py"
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cycles.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["constraint", "score", "figure", "tower_format", "inversion_format"])
def test_what_a_page_on_adding_names_is_there(page: str) -> None:
    """Files, and names that stand in one of the files of the page."""
    text = (DOCS / f"add/{page}.md").read_text(encoding="utf-8")
    marked = set(re.findall(r"`([^`\n]+)`", text))
    files = {name for name in marked if re.fullmatch(r"[\w/]+\.(py|md)", name)}
    places = {name: next((p for p in (ROOT / name, Path(dualflux.__file__).parent / name) if p.is_file()), None) for name in files}
    assert [name for name, place in places.items() if place is None] == []
    code = "".join(place.read_text(encoding="utf-8") for name, place in places.items() if place is not None and name.endswith(".py"))
    names = {name for name in marked if re.fullmatch(r"_?[A-Za-z]+(_[a-z]+)*|_[A-Z]+", name) and (name[0] == "_" or name != name.lower())}
    names |= {name for name in marked if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)}
    assert [name for name in names if name not in code] == []


def test_every_room_has_its_place_in_the_api_pages() -> None:
    shown = re.findall(r"automodule:: ([\w.]+)", "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md")))
    package = Path(dualflux.__file__).parent
    rooms = [path for path in package.iterdir() if path.name[0] not in "_." and (path.suffix == ".py" or (path / "__init__.py").is_file())]
    sources = [path for path in (package / "sources").iterdir() if (path / "__init__.py").is_file()]
    wanted = {".".join(path.relative_to(package.parent).with_suffix("").parts) for path in [*rooms, *sources]}
    assert [name for name in wanted if not any(f"{module}.".startswith(f"{name}.") for module in shown)] == []


def test_the_changelog_is_of_this_version() -> None:
    """On top stands what is unreleased; a version with no suffix has its own heading below."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    released = [heading.split()[0] for heading in headings[1:]]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in released)
    if ".dev" in dualflux.__version__:
        assert dualflux.__version__.split(".dev")[0] not in released
    else:
        assert released[0] == dualflux.__version__

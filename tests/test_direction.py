"""Imports run one way: the rooms of the package stand in order, and a module imports from its own room or from rooms below."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from draw_rooms import PICTURE, read_picture

from rooms import KNOWS_NOTHING_OF, LEVEL, MODULES, MOST_LOOSE_FILES, PACKAGE, circles, import_graph, imported, room, room_graph, upward

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "__init__"])
def test_no_import_upwards(module: str) -> None:
    assert room(module) in LEVEL, f"{room(module)}: give it a place in ROOMS of tests/rooms.py"
    assert not upward({module: set(imported(MODULES[module]))})


def test_no_circles() -> None:
    # A package's __init__ gathers what its modules offer; that they import it back would be the circle.
    assert circles(import_graph()) == []


def test_upward_imports_and_circles_are_found() -> None:
    """Drawn by hand: the grid imports the pipeline; a and b import each other through c; d imports itself only by way of the package."""
    assert upward({"grid": {"pipeline", "errors"}, "cli": {"pipeline"}}) == ["grid imports pipeline"]
    drawn = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"__init__"}, "__init__": {"d"}}
    assert circles(drawn) == [["a", "b", "c"]]


@pytest.mark.parametrize("name", KNOWS_NOTHING_OF)
def test_a_room_knows_nothing_of_others(name: str) -> None:
    modules = {other for module, path in MODULES.items() if room(module) == name for other in imported(path)}
    assert not (modules | {room(other) for other in modules}) & KNOWS_NOTHING_OF[name]
    assert {room(other) for other in KNOWS_NOTHING_OF[name]} <= set(LEVEL)


def test_few_files_stand_loose() -> None:
    loose = [path.name for path in PACKAGE.glob("*.py")]
    assert len(loose) <= MOST_LOOSE_FILES, f"{loose}: a file belongs in a room"


def test_the_picture_in_contributing_shows_these_rooms_and_imports() -> None:
    assert f"({PICTURE.relative_to(ROOT).as_posix()})" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = read_picture(PICTURE)
    wanted = {name: sorted(others) for name, others in room_graph(import_graph()).items()}
    assert list(shown) == list(wanted) and shown == wanted, "run python tools/draw_rooms.py"


def test_contributing_says_what_each_room_is_for() -> None:
    table = [line for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1])}
    assert named == set(LEVEL) - {"__init__"}


def test_the_tool_says_the_same_as_json() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/draw_rooms.py", "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["rooms"] == [name for name in LEVEL if name != "__init__"] and found["upward"] == found["cycles"] == []
    assert found["loose_files"] == sorted(path.name for path in PACKAGE.glob("*.py"))

"""Imports run one way: the rooms of the package stand in order, and a module imports from its own room or from rooms below."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dualflux

PACKAGE = Path(dualflux.__file__).parent
# From the roof to the ground; files that stand in no room are listed where they belong.
ROOMS = (
    "cli",
    "in_python",
    "pipeline",
    "checking",
    "stages",
    "report",
    "twin",
    "study",
    "evaluation",
    "prediction",
    "fitting",
    "constraints",
    "prepared",
    "model",
    "metrics",
    "features",
    "cube",
    "sources",
    "variants",
    "run_folder",
    "grid",
    "coordinates",
    "units",
    "unit_spelling",
    "errors",
    "__init__",
)
LEVEL = {name: len(ROOMS) - place for place, name in enumerate(ROOMS)}
KNOWS_NOTHING_OF = {
    "model": {"constraints", "fitting", "evaluation", "study"},
    "metrics": {"model", "constraints", "fitting", "evaluation", "study", "prepared"},
    "run_folder": {"model", "constraints", "sources", "study"},
    "report": {"fitting", "constraints", "model", "study"},
}
MOST_LOOSE_FILES = 12


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a module imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "dualflux":
                yield _nearest_module(name.removeprefix("dualflux").lstrip("."))


def _nearest_module(name: str) -> str:
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def room(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "__init__"])
def test_no_import_upwards(module: str) -> None:
    assert room(module) in LEVEL, f"{room(module)}: give it a place in ROOMS of {Path(__file__).name}"
    upwards = [other for other in imported(MODULES[module]) if LEVEL[room(other)] > LEVEL[room(module)]]
    assert not upwards, f"{module} imports {upwards}, which stand above it"


def test_no_circles() -> None:
    # A package's __init__ gathers what its modules offer; that they import it back would be the circle.
    graph = {module: set(imported(path)) - {module, "__init__"} for module, path in MODULES.items() if module != "__init__"}
    assert set(TopologicalSorter(graph).static_order()) >= set(graph)  # raises CycleError at a circle


@pytest.mark.parametrize("name", KNOWS_NOTHING_OF)
def test_a_room_knows_nothing_of_others(name: str) -> None:
    known = {room(other) for module, path in MODULES.items() if room(module) == name for other in imported(path)}
    assert not known & KNOWS_NOTHING_OF[name]


def test_few_files_stand_loose() -> None:
    loose = [path.name for path in PACKAGE.glob("*.py")]
    assert len(loose) <= MOST_LOOSE_FILES, f"{loose}: a file belongs in a room"

"""The rooms of the package from the roof to the ground, what each knows nothing of, and the imports between them, read from the source."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import dualflux

PACKAGE = Path(dualflux.__file__).parent
# From the roof to the ground; files that stand in no room are listed where they belong. `tools/draw_rooms.py` draws them in this order.
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
    "derived",
    "cube",
    "vegetation",
    "sources",
    "variants",
    "run_folder",
    "grid",
    "geometry",
    "units",
    "unit_spelling",
    "errors",
    "__init__",
)
LEVEL = {name: len(ROOMS) - place for place, name in enumerate(ROOMS)}
# What a room must not import although the order would let it: rooms or modules.
KNOWS_NOTHING_OF = {
    "constraints": {"model.flux_model", "model.ensemble", "fitting"},
    "model": {"constraints", "fitting", "evaluation", "study"},
    "metrics": {"model", "constraints", "fitting", "evaluation", "study", "prepared"},
    "run_folder": {"model", "constraints", "sources", "study"},
    "report": {"fitting", "constraints", "model", "study"},
}
MOST_LOOSE_FILES = 12


def module_name(path: Path) -> str:
    """Dotted name of a module of ours, without the package's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a module imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: a relative import hides where it leads")
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
    """The room of a module; a loose file is its own."""
    return module.split(".")[0]


def import_graph() -> dict[str, set[str]]:
    """Which modules each module imports; a package's `__init__`, which gathers what its modules offer, is the package."""
    return {module: set(imported(path)) - {module} for module, path in MODULES.items()}


def room_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Which other rooms each room imports from, in order of `ROOMS`; the package's own `__init__` is left out."""
    pairs = {(room(module), room(other)) for module, others in graph.items() for other in others}
    return {one: {b for a, b in pairs if a == one and b not in (one, "__init__")} for one in ROOMS if one != "__init__"}


def upward(graph: Mapping[str, set[str]]) -> list[str]:
    """Imports from a room that stands above; the package's face, which imports its names when they are asked for, stands in front."""
    pairs = sorted((module, other) for module, others in graph.items() if module != "__init__" for other in others)
    return [f"{module} imports {other}" for module, other in pairs if LEVEL[room(other)] > LEVEL[room(module)]]


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    graph = {module: {other for other in others if other != "__init__"} for module, others in graph.items() if module != "__init__"}
    reached = {module: _reached(graph, module) for module in graph}
    groups = {frozenset(other for other in reached[module] if module in reached[other]) for module in graph if module in reached[module]}
    return sorted(sorted(group) for group in groups)


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead += graph[module]
    return found

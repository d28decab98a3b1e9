"""Imports run one way: a module may import from its own layer and from those below, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dualflux

PACKAGE = Path(dualflux.__file__).parent
LAYERS = [
    {"__init__", "errors"},
    {"units", "checkpoint", "files", "lanes", "yaml_reader", "doctor", "hdf5_output", "machine_errors", "unread_output"},
    {"grid", "lock", "stages", "settings_errors", "spatial"},
    {"sources", "cube", "features", "splits", "operators", "covariance", "ensemble_spread"},
    {"constraints", "numerics", "model"},
    {"regional_integrals"},
    {"objective"},
    {"site_effects"},
    {"training", "runs", "kernel", "upscaling", "evaluation", "products"},
    {"linear_posterior", "flux_library", "left_out", "tower_coverage"},
    {"closing"},
    {"representative"},
    {"experiments"},
    {"weighting"},
    {"study", "report", "twin"},
    {"consistency", "preparation", "check", "results", "independent", "compare", "predict"},
    {"model_folder", "scoring", "progress"},
    {"pipeline"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


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


@pytest.mark.parametrize("module", MODULES)
def test_no_import_upwards(module: str) -> None:
    mine = module.split(".")[0]
    assert mine in LEVEL, f"{mine}: give it a layer in {Path(__file__).name}"
    upwards = [other for other in imported(MODULES[module]) if LEVEL[other.split(".")[0]] > LEVEL[mine]]
    assert not upwards, f"{module} imports {upwards}, which stand above it"


def test_no_circles() -> None:
    # A package's __init__ gathers what its modules offer; that they import it back would be the circle.
    graph = {module: set(imported(path)) - {module, "__init__"} for module, path in MODULES.items()}
    assert set(TopologicalSorter(graph).static_order()) >= set(graph)  # raises CycleError at a circle


def test_the_model_knows_no_constraint_and_a_constraint_no_network() -> None:
    assert "constraints" not in set(imported(MODULES["model"]))
    assert "model" not in set(imported(MODULES["constraints"]))
    evaluation = {other for module, path in MODULES.items() if module.startswith("evaluation") for other in imported(path)}
    assert not evaluation & {"model", "constraints"}

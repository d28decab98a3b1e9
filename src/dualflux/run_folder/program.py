"""Which files of the program decide what a stage writes: its module, and all that it imports, however far.

An upgrade that touches other files only keeps what the stage made.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import dualflux
from dualflux.run_folder.files import sha256

PACKAGE = Path(dualflux.__file__).parent
# It puts the settings of all rooms together, and so imports all of them. What a stage does with a setting stands in the rooms that the
# stage imports itself, and the values of its settings are compared beside the program.
NOT_FOLLOWED = frozenset({"study.settings"})


def program_of(modules: Iterable[str]) -> dict[str, str]:
    """The start of the SHA-256 of every file that decides what these modules do, by its place in the package.

    Parameters
    ----------
    modules : iterable of str
        Without the package's name: ``stages.train``.
    """
    found: set[Path] = set()
    for module in modules:
        found |= source_files(module)
    return {path.relative_to(PACKAGE).as_posix(): _checksum(path) for path in sorted(found)}


@cache
def source_files(module: str, package: Path = PACKAGE, not_followed: frozenset[str] = NOT_FOLLOWED) -> frozenset[Path]:
    """Files of a module, of the modules it imports anywhere (also inside functions) and of theirs; and package data that they name.

    The package's own ``__init__.py`` is left out: it holds the version and the public names, and changes with every upgrade.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or not name:
            continue
        found.add(name)
        waiting.append(name.rpartition(".")[0])  # importing a module runs the packages it lies in
        if name not in not_followed:
            waiting.extend(_imports(name, package))
    files = {_file_of(name, package) for name in found}
    return frozenset(files | {data for path in files for data in _data_beside(path, package)})


def _imports(module: str, package: Path) -> Iterator[str]:
    """Modules of the package that a module imports."""
    path = _file_of(module, package)
    own = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = [package.name, *filter(None, own.split("."))]
                base = ".".join([*above[: len(above) + 1 - node.level], *filter(None, [base])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == package.name:
                yield _nearest(name.partition(".")[2], package)


def _nearest(name: str, package: Path) -> str:
    """The module that a dotted name is, or is in; empty for the package itself."""
    while name and not _exists(name, package):
        name = name.rpartition(".")[0]
    return name


def _exists(module: str, package: Path) -> bool:
    place = package.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def _file_of(module: str, package: Path) -> Path:
    place = package.joinpath(*module.split("."))
    return place / "__init__.py" if (place / "__init__.py").is_file() else place.with_suffix(".py")


def _data_beside(path: Path, package: Path) -> Iterator[Path]:
    """What is no module but lies beside one in its room (a template), and files of the package's ``data`` that it names."""
    if path.parent != package:
        yield from (other for other in path.parent.iterdir() if other.is_file() and other.suffix != ".py")
    names = {
        node.value.rpartition("/")[2] for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    data = package / "data"
    if data.is_dir():
        yield from (other for other in data.iterdir() if other.name in names)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _checksum(path: Path) -> str:
    return sha256(path)[:16]


@cache
def whole_program() -> str:
    """Version and checksum of all source files of the package."""
    parts = "".join(f"{p.relative_to(PACKAGE).as_posix()} {sha256(p)}\n" for p in sorted(PACKAGE.rglob("*.py")))
    return f"{dualflux.__version__} {hashlib.sha256(parts.encode()).hexdigest()[:16]}"

"""Reads a YAML file as plain values, with the line each key stands on.

Stricter than YAML where YAML is a trap in a settings file: a key given twice, aliases (which can make
a small file enormous), dates that do not exist and numbers that are not finite are all refused.
"""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from dualflux.errors import InputError, Problems

Location = tuple[str | int, ...]
_MAXIMUM_BYTES = 1_000_000
_MAXIMUM_DEPTH = 20


class _Loader(yaml.SafeLoader):
    """The safe loader without dates: these stay text, so that the settings classes judge them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """Read a YAML mapping.

    Returns
    -------
    values : dict
        Text, numbers, booleans, None, lists and dicts only.
    lines : dict
        Line number, from 1, of each key and list item by its location, such as ``("towers", 0, "path")``.

    Raises
    ------
    InputError
        No such file, not text, not YAML (with the line), keys given twice (each, with its line), aliases
        or tags, numbers that are not finite.
    """
    text = _read_text(path)
    try:
        _refuse_what_settings_do_not_need(text, path)
        loader = _Loader(text)
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path.name}{_line_of(error)}: not valid YAML: {_reason(error)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path.name}: not valid YAML: {' '.join(str(error).split())}") from error
    if node is None or not isinstance(values, dict):
        raise InputError(f"{path.name}: holds no settings; allowed: lines such as `name: my_study`; `dualflux init` writes an example")
    lines: dict[Location, int] = {}
    problems = Problems()
    _walk(node, (), lines, problems, path)
    _refuse_not_finite(values, (), lines, problems, path)
    problems.raise_if_any()
    return values, lines


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such study file; give the path of a YAML file, or write one with `dualflux init DIR`")
    if path.stat().st_size > _MAXIMUM_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes; a study file has at most {_MAXIMUM_BYTES}; is it another file?")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save the study file as UTF-8") from error


def _refuse_what_settings_do_not_need(text: str, path: Path) -> None:
    """Aliases, tags and deep nesting: checked on the flat stream of events, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{path.name} line {line}: alias `*{event.anchor}`; aliases are not allowed: write the value out")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag not in (None, "!"):
            raise InputError(f"{path.name} line {line}: tag `{event.tag}`; tags are not allowed: write the plain value")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAXIMUM_DEPTH:
            raise InputError(f"{path.name} line {line}: nested more than {_MAXIMUM_DEPTH} deep; no setting is")


def _line(part: yaml.Node | yaml.Event) -> int:
    return 1 if part.start_mark is None else part.start_mark.line + 1


def _walk(node: yaml.Node, where: Location, lines: dict[Location, int], problems: Problems, path: Path) -> None:
    """Note the lines of all keys, and every key that stands twice."""
    lines[where] = _line(node)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _walk(item, (*where, i), lines, problems, path)
    if isinstance(node, yaml.MappingNode):
        seen: dict[Hashable, int] = {}
        for key, value in node.value:
            line = _line(key)
            if key.tag != "tag:yaml.org,2002:str":
                problems.add(f"{path.name} line {line}: key `{key.value}` is no text; write it in quotes")
            elif key.value in seen:
                problems.add(f"{path.name} line {line}: `{key.value}` is given twice (first on line {seen[key.value]}); keep one")
            seen[str(key.value)] = line
            _walk(value, (*where, str(key.value)), lines, problems, path)
            lines[(*where, str(key.value))] = line


def _refuse_not_finite(values: object, where: Location, lines: dict[Location, int], problems: Problems, path: Path) -> None:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        _refuse_not_finite(value, (*where, key), lines, problems, path)
    if isinstance(values, float) and not math.isfinite(values):
        problems.add(f"{path.name} line {lines.get(where, 1)}, {key_path(where)}: {values}; only finite numbers are allowed")


def key_path(where: Location) -> str:
    """A location as it is written: ``("towers", 0, "path")`` -> ``towers[0].path``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


def _line_of(error: yaml.MarkedYAMLError) -> str:
    return "" if error.problem_mark is None else f" line {error.problem_mark.line + 1}"


def _reason(error: yaml.MarkedYAMLError) -> str:
    return " ".join(" ".join(part for part in (error.problem, error.note) if part).split())

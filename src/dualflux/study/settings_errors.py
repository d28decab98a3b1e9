"""Turns pydantic's errors about a settings file into sentences for its author."""

import difflib
from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dualflux.study.yaml_reader import Location, key_path


def explain(error: ValidationError, model: type[BaseModel], values: dict[str, Any], lines: dict[Location, int], name: str) -> list[str]:
    """One sentence per wrong key, in the order of the file: what came, what is allowed, what to do.

    Parameters
    ----------
    error : ValidationError
    model : type
        The settings class that was validated.
    values, lines : dict
        What `read_yaml` returned.
    name : str
        Of the file.
    """
    found: dict[Location, list[str]] = {}
    details = error.errors(include_url=False)
    # A sequence is too short for pydantic where its items are wrong.
    with_items = {detail["loc"][:-1] for detail in details}
    for detail in _closest([d for d in details if d["type"] != "too_short" or d["loc"] not in with_items], values):
        texts = found.setdefault(_location(detail, values), [])
        text = _sentence(detail, model)
        texts.append(text.removeprefix(_came(detail)) if texts else text)
    in_order = sorted(found.items(), key=lambda item: _line(item[0], lines))
    return [f"{place_of(where, lines, name)}: {', or '.join(dict.fromkeys(texts))}" for where, texts in in_order]


def without_wrong(error: ValidationError, values: dict[str, Any], sections: Collection[str]) -> dict[str, Any] | None:
    """Settings without those that are wrong; None where one stands outside of `sections`."""
    kept = {**values}
    for detail in error.errors(include_url=False):
        where = _location(detail, values)
        if not where or where[0] not in sections:
            return None
        section = kept.get(str(where[0]))
        if len(where) > 1 and isinstance(section, dict):
            kept[str(where[0])] = {key: value for key, value in section.items() if key != where[1]}
        else:
            kept.pop(str(where[0]), None)
    return kept


def _closest(details: list[ErrorDetails], values: Any) -> list[ErrorDetails]:
    """Where a value fits none of several alternatives, the errors of the one it comes closest to.

    Pydantic puts the alternative's name into the place: ``("regions", "MaskSettings", "path")``.
    """
    groups: dict[Location, dict[str | int, list[ErrorDetails]]] = {}
    for detail in details:
        at = _alternative_at(detail, values)
        groups.setdefault(detail["loc"][:at], {}).setdefault(detail["loc"][at] if at < len(detail["loc"]) else "", []).append(detail)
    kept: list[ErrorDetails] = []
    for alternatives in groups.values():
        classes: list[list[ErrorDetails]] = [
            found for found in alternatives.values() if any(len(d["loc"]) > _alternative_at(d, values) + 1 for d in found)
        ]
        if len(alternatives) > 1 and classes:
            nearest: list[ErrorDetails] = min(classes, key=len)
            kept += nearest
        else:
            kept += [detail for found in alternatives.values() for detail in found]
    return kept


def _alternative_at(detail: ErrorDetails, values: Any) -> int:
    """Index of the first part of an error's place that is not in the file: the name of an alternative."""
    for i, part in enumerate(detail["loc"]):
        if not _holds(values, part):
            return i
        values = values[part]
    return len(detail["loc"])


def place_of(where: Location, lines: dict[Location, int], name: str) -> str:
    """File, line and key of a setting, for messages."""
    return f"{name} line {_line(where, lines)}, {key_path(where) or 'the study'}"


def _line(where: Location, lines: dict[Location, int]) -> int:
    """Line of the place, or of the nearest that contains it."""
    return next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), 1)


def _holds(values: Any, part: str | int) -> bool:
    if isinstance(values, list):
        return isinstance(part, int) and part < len(values)
    return isinstance(values, dict) and part in values


def _location(detail: ErrorDetails, values: Any) -> Location:
    """The keys and indices in the file; names of union alternatives, which pydantic puts between, are left out."""
    where: list[str | int] = []
    parts = detail["loc"]
    for i, part in enumerate(parts):
        if _holds(values, part):
            values = values[part]
        elif not (detail["type"] == "missing" and i == len(parts) - 1 and isinstance(part, str)):
            continue
        where.append(part)
    if detail["type"] == "union_tag_invalid":
        where.append(str(detail["ctx"]["discriminator"]).strip("'"))
    return tuple(where)


def _sentence(detail: ErrorDetails, root: type[BaseModel]) -> str:
    kind, context, came = detail["type"], detail.get("ctx", {}), _came(detail)
    if kind == "extra_forbidden":
        return _unknown_key(detail, root)
    if kind == "missing" and isinstance(detail["loc"][-1], int):
        return f"{came}a value is missing at its end"
    if kind == "missing":
        return f"is missing; add {_described(detail, root)}"
    if kind in ("literal_error", "union_tag_invalid"):
        return f"{came}allowed: {str(context.get('expected', context.get('expected_tags'))).replace(chr(39), '`')}"
    if kind == "union_tag_not_found":
        return f"key {str(context['discriminator']).replace(chr(39), '`')} is missing; it says which kind this is"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        keys = [name for model in _models_at(detail["loc"], root) for name in model.model_fields]
        return f"{came}needed: a mapping{f' with keys of {keys}' if keys else ''}".replace(chr(39), "`")
    if kind == "string_type" and isinstance(detail["input"], int | float):
        return f'{came}needed: text; write it in quotes: "{detail["input"]}"'
    if kind in ("float_parsing", "float_type", "int_parsing", "int_type", "int_from_float"):
        return f"{came}needed: a {'whole ' if kind.startswith('int') else ''}number"
    if kind == "value_error":
        return f"{context['error']}"
    return f"{came}{detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _came(detail: ErrorDetails) -> str:
    value = detail["ctx"]["tag"] if detail["type"] == "union_tag_invalid" else detail["input"]
    text = "nothing" if value is None else f"`{value}`"
    return f"came {text if len(text) <= 80 else f'{text[:76]} ...`'}; "


def _unknown_key(detail: ErrorDetails, root: type[BaseModel]) -> str:
    key = str(detail["loc"][-1])
    allowed = sorted({name for model in _models_at(detail["loc"][:-1], root) for name in model.model_fields})
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.6)
    return f"unknown key{f'; did you mean `{near[0]}`?' if near else ''} allowed here: {', '.join(allowed)}"


def _described(detail: ErrorDetails, root: type[BaseModel]) -> str:
    key = str(detail["loc"][-1])
    fields = [m.model_fields[key] for m in _models_at(detail["loc"][:-1], root) if key in m.model_fields]
    text = next((f.description for f in fields if f.description), None)
    return f"`{key}`" if text is None else f"`{key}`: {text}"


def _models_at(parts: tuple[str | int, ...], root: type[BaseModel]) -> list[type[BaseModel]]:
    """The settings classes that an error's place can mean."""
    models: list[type[BaseModel]] = [root]
    for part in parts:
        inner = [m for model in models if part in model.model_fields for m in _models_in(model.model_fields[str(part)].annotation)]
        tagged = [m for m in models if part == m.__name__ or part in _tags(m)]
        models = inner or tagged or models
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    nested = get_args(annotation) if get_origin(annotation) is not Literal else ()
    return [model for argument in nested for model in _models_in(argument)]


def _tags(model: type[BaseModel]) -> list[object]:
    """Values of the `Literal` fields that have no default: what tells the members of a union apart."""
    fields = [f.annotation for f in model.model_fields.values() if f.is_required()]
    return [value for annotation in fields if get_origin(annotation) is Literal for value in get_args(annotation)]

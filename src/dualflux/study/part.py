"""A part of the settings: what a stage declares that it depends on, and no more to be read."""

import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


class UndeclaredSettingError(RuntimeError):
    """A setting was read that the stage does not declare: a defect of ours, for a change of it would not redo the stage."""


def part_of(settings: M, keys: Iterable[str]) -> M:
    """A copy that has the named settings alone; reading another raises UndeclaredSettingError.

    Parameters
    ----------
    settings : BaseModel
    keys : iterable of str
        ``training``, or ``network.folds`` for one of several.
    """
    wanted = _by_first(keys)
    if unknown := [key for key in wanted if key not in type(settings).model_fields]:
        raise UndeclaredSettingError(f"{type(settings).__name__} has no setting {', '.join(unknown)}")
    found = _part_class(type(settings)).model_construct()
    values = {key: part_of(getattr(settings, key), inner) if inner else getattr(settings, key) for key, inner in wanted.items()}
    found.__dict__.clear()
    found.__dict__.update(values)
    return found


def values_of(settings: BaseModel, keys: Iterable[str]) -> dict[str, Any]:
    """The named settings as plain JSON values, each under its name as given."""
    everything = settings.model_dump(mode="json")
    found = {}
    for key in keys:
        value: Any = everything
        for name in key.split("."):
            value = value[name]
        found[key] = value
    return found


class PartOfMapping(Mapping[str, Any]):
    """Some of the resolved settings of a study; asking for one that is not among them is an error, for a word no study has it is not.

    Parameters
    ----------
    content : mapping
    known : collection of str
        Every key that a study can have.
    """

    def __init__(self, content: Mapping[str, Any], known: Iterable[str]) -> None:
        self._content, self._known = dict(content), frozenset(known)

    def __getitem__(self, key: str) -> Any:
        if key in self._known and key not in self._content:
            _refuse(key)
        return self._content[key]

    def __contains__(self, key: object) -> bool:
        if key in self._known and key not in self._content:
            _refuse(str(key))
        return key in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def _by_first(keys: Iterable[str]) -> dict[str, list[str]]:
    """The names below each first name; none where all of it is wanted."""
    keys = list(keys)
    whole = {key for key in keys if "." not in key}
    found: dict[str, list[str]] = {}
    for key in keys:
        first, _, rest = key.partition(".")
        found.setdefault(first, []).extend([rest] if rest and first not in whole else [])
    return found


@cache
def _part_class(whole: type[M]) -> type[M]:
    """The same settings, where reading one that is not there names it."""

    def refuse(self: M, name: str) -> Any:
        if name in whole.model_fields:
            _refuse(name)
        raise AttributeError(f"{whole.__name__} has no attribute {name!r}")

    names = {"__getattr__": refuse, "__module__": __name__, "__doc__": whole.__doc__}
    found: type[M] = types.new_class(f"PartOf{whole.__name__}", (whole,), exec_body=lambda body: body.update(names))
    return found


def _refuse(name: str) -> NoReturn:
    raise UndeclaredSettingError(f"setting `{name}` is read by a stage that does not declare it; add it to the stage in stages/plan.py")

"""What a check found: a line of each source, sections of tables and lines, and every problem."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pandas as pd

from dualflux.errors import InputError

MOST_LINES = 22  # of a first screen; a blank one and the verdict follow
WIDEST = 160
_FILE = re.compile(r"[^\s:,]+\.\w+")
_ABSENT, _WHERE = "no such file", re.compile(r"no such file \((.+?)\)")
_SUFFIXES = (".csv", ".nc", ".nc4", ".h5", ".hdf", ".hdf5", ".zarr", ".zip", ".yaml", ".yml", ".txt", ".shp", ".geojson", ".gpkg", ".json")


def by_file(problems: Iterable[str]) -> list[str]:
    """Each problem once; those of a file together, in the order in which files first come; what is of no file first.

    Examples
    --------
    >>> by_file(["a.csv: x", "b.nc: y", "folds: z", "a.csv, column `t`: w", "b.nc: y"])
    ['folds: z', 'a.csv: x', 'a.csv, column `t`: w', 'b.nc: y']
    """
    groups: dict[str, list[str]] = {"": []}
    absent = set[str]()
    for problem in dict.fromkeys(problems):
        found = _FILE.match(problem)
        name = Path(found[0]).name if found and found[0].lower().endswith(_SUFFIXES) else ""
        if name and _ABSENT in problem:  # each reader of a file says so in its own words
            where = _WHERE.search(problem)
            path = where[1] if where else problem.split(": ", 1)[0]
            if path in absent:
                continue
            absent.add(path)
        groups.setdefault(name, []).append(problem)
    return [problem for group in groups.values() for problem in group]


def some(names: Sequence[str], most: int = 5) -> str:
    """Names for a line: the first few, and how many there are beyond.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _cut(line: str) -> str:
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 4]} ..."


@dataclass(repr=False)
class CheckReport:
    """What was found.

    Attributes
    ----------
    summary : list of (source, line)
        What a first screen says.
    sections : list of (title, table or lines)
    problems : list of str
        One sentence each, those of a file together; empty where the study can run.
    summary : list of (source, line)
        What a first screen says.
    """

    sections: list[tuple[str, pd.DataFrame | list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    summary: list[tuple[str, str]] = field(default_factory=list)

    def add(self, title: str, content: pd.DataFrame | list[str]) -> None:
        """Append a section that has something to say."""
        if len(content):
            self.sections.append((title, content))

    def say(self, source: str, line: str) -> None:
        """A line of the first screen."""
        self.summary.append((source, line))

    def first_screen(self) -> str:
        """A line of each source, at most `MOST_LINES` lines of `WIDEST` characters."""
        shown = self.summary[: MOST_LINES - 1]
        lines = [_cut(f"{source}: {line}") for source, line in shown]
        return "\n".join([*lines, "Tables of every source, site and region: dualflux check --all"])

    def text(self) -> str:
        """All sections as plain text."""
        return "\n\n".join(f"{title}\n{_as_text(content)}" for title, content in self.sections)

    def __repr__(self) -> str:
        return f"{self.first_screen()}\n\n{self.verdict()}"

    def _repr_html_(self) -> str:
        parts = [f"<h4>{escape(title)}</h4>{_as_html(content)}" for title, content in self.sections]
        problems = "".join(f"<li>{escape(problem)}</li>" for problem in self.problems)
        return f"<div>{''.join(parts)}<p><strong>{escape(self.verdict().splitlines()[0])}</strong></p><ul>{problems}</ul></div>"

    def verdict(self) -> str:
        """Whether the study can run; where not, every problem on a line."""
        if not self.problems:
            return "The study can run."
        return "\n".join([f"The study cannot run; problems: {len(self.problems)}", *(f"- {problem}" for problem in self.problems)])

    def raise_if_wrong(self) -> None:
        """Raise InputError with every problem."""
        if self.problems:
            raise InputError(self.problems)


def _as_html(content: pd.DataFrame | list[str]) -> str:
    return f"<pre>{escape(_as_text(content))}</pre>"


def _as_text(content: pd.DataFrame | list[str]) -> str:
    if isinstance(content, list):
        return "\n".join(f"  {line}" for line in content)
    dates = {c: content[c].dt.strftime("%Y-%m-%d") for c in content.columns if pd.api.types.is_datetime64_any_dtype(content[c])}
    return content.assign(**dates).to_string(index=False, float_format=_number, na_rep="-", justify="left")


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"

"""What a check found: sections of tables and lines, and every problem."""

from dataclasses import dataclass, field
from html import escape

import pandas as pd

from dualflux.errors import InputError


@dataclass(repr=False)
class CheckReport:
    """What was found.

    Attributes
    ----------
    sections : list of (title, table or lines)
    problems : list of str
        One sentence each; empty where the study can run.
    """

    sections: list[tuple[str, pd.DataFrame | list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, title: str, content: pd.DataFrame | list[str]) -> None:
        """Append a section that has something to say."""
        if len(content):
            self.sections.append((title, content))

    def text(self) -> str:
        """All sections as plain text."""
        return "\n\n".join(f"{title}\n{_as_text(content)}" for title, content in self.sections)

    def __repr__(self) -> str:
        return f"{self.text()}\n\n{self.verdict()}"

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

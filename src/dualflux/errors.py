"""What users see of their input: every problem found, at once; what is taken although it is doubted; how text of theirs is shown."""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (also those that turn the direction of writing), halves of pairs, line ends


class InputError(Exception):
    """The study file or an input file is wrong.

    Parameters
    ----------
    problems : iterable of str
        One sentence per problem: what came, what is allowed, what to do.
    """

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class Problems:
    """Collects problems so that all of them reach the user at once.

    Examples
    --------
    >>> problems = Problems()
    >>> problems.add("towers.csv: no column `nee`")
    >>> with problems.collect():
    ...     raise InputError("masks.nc: no variable `lat_band`")
    >>> problems.raise_if_any()
    Traceback (most recent call last):
    dualflux.errors.InputError: towers.csv: no column `nee`
    masks.nc: no variable `lat_band`
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """Remember one problem."""
        self.found.append(problem)

    def collect(self) -> "Problems":
        """Use as ``with problems.collect():``, which keeps an InputError for later."""
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, InputError):
            self.found.extend(error.problems)
            return True
        return False

    def raise_if_any(self) -> None:
        """Raise InputError with everything found so far."""
        if self.found:
            raise InputError(self.found)


class NumericalError(InputError, FloatingPointError):
    """A value is infinite or no number; the message names it and says where it arose."""


_DOUBTS: ContextVar[list[str] | None] = ContextVar("doubts", default=None)


def doubt(line: str) -> None:
    """Say what is taken although it looks wrong: whoever collects doubts shows it (`check`, the log of `run`, the report)."""
    found = _DOUBTS.get()
    if found is not None and line not in found:
        found.append(line)


@contextmanager
def doubts() -> Iterator[list[str]]:
    """Collect what is doubted inside.

    Examples
    --------
    >>> with doubts() as found:
    ...     doubt("ta: 60 degC in 1 cell; taken as it is")
    >>> found
    ['ta: 60 degC in 1 cell; taken as it is']
    """
    found: list[str] = []
    token = _DOUBTS.set(found)
    try:
        yield found
    finally:
        _DOUBTS.reset(token)


def printable(text: str) -> str:
    r"""The text with everything that would steer a terminal written as an escape: names of files may hold anything.

    >>> printable("a\x1b[2Jb\u202ec.nc")
    'a\\x1b[2Jb\\u202ec.nc'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

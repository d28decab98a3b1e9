"""How far lags and running means look back, and what stands before a record that begins too late."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dualflux.cube import Steps
from dualflux.errors import InputError
from dualflux.sources.predictors.settings import PredictorSettings, SpinUp, parse_derived

MEMORY_DAYS = (30, 90, 365)


def span(function: str, number: int, steps: Steps) -> int:
    """Steps that a lag (by a number of steps) or a running mean (over a number of days) spans, its own included."""
    step_days = float(steps.month_days.sum() / len(steps.time))
    return number + 1 if function == "lag" else max(1, round(number / step_days))


def longest_look_back(names: Iterable[str], dynamic: Iterable[str], steps: Steps) -> int:
    """Steps before the first that the named columns look back to.

    Parameters
    ----------
    names : iterable of str
        Of columns, derived or not.
    dynamic : iterable of str
        Predictors that columns are derived from.
    steps : Steps
    """
    known, look_back = list(dynamic), 0
    for name in names:
        if name.startswith(("lag(", "running_mean(")):
            found = parse_derived(name, known)
            look_back = max(look_back, span(found.function, found.number or 0, steps) - 1)
    return look_back


def default_windows(chosen: dict[str, list[int] | None], before: int, steps: Steps, spin_up: SpinUp) -> dict[str, list[int]]:
    """Windows of running means [days]: the chosen ones, else those of 30, 90 and 365 days that the record allows.

    Parameters
    ----------
    chosen : dict
        Windows of each dynamic predictor, None where the study states none.
    before : int
        Steps of the record before the study's first.
    steps : Steps
    spin_up : {"record", "mean_season"}
        With ``mean_season`` any record allows all.

    Returns
    -------
    dict
        A window of one step is the variable itself and is left out.
    """
    wide = [days for days in MEMORY_DAYS if span("running_mean", days, steps) > 1]
    possible = [d for d in wide if spin_up == "mean_season" or span("running_mean", d, steps) <= before + 1]
    return {name: list(possible if given is None else given) for name, given in chosen.items()}


def require_record(name: str, function: str, number: int, before: int, steps: Steps) -> int:
    """Steps that a lag or a running mean spans, its own included.

    Parameters
    ----------
    name : str
        Of the derived predictor, for the message.
    function : str
        ``lag`` or ``running_mean``.
    number : int
        Steps of a lag, days of a running mean.
    before : int
        Steps of the record before the study's first.
    steps : Steps

    Raises
    ------
    InputError
        The record begins too late.
    """
    width = span(function, number, steps)
    if before < width - 1:
        raise InputError(
            f"predictor `{name}`: needs {width - 1} steps before {steps.time[0]:%Y-%m-%d}, the record has {before}; "
            "give earlier data, a shorter window, a later period or `spin_up: mean_season`"
        )
    return width


class Memory:
    """What the record of a study's predictors is too short for.

    Parameters
    ----------
    settings : sequence of PredictorSettings
    first : Timestamp
        First step of the record that all dynamic predictors share.
    steps : Steps
    spin_up : {"record", "mean_season"}
    """

    def __init__(self, settings: Iterable[PredictorSettings], first: pd.Timestamp, steps: Steps, spin_up: SpinUp) -> None:
        self.first, self.steps, self.spin_up = first, steps, spin_up
        predictors = list(settings)
        self._dynamic = {p.name: p.running_means for p in predictors if p.kind == "dynamic"}
        self._derived = [p.name for p in predictors if p.derived]
        self.before = len(pd.date_range(first, steps.time[0], freq=steps.length.frequency, inclusive="left"))

    def asked(self) -> list[tuple[str, str, str, int]]:
        """Name, function, variable and number of every lag and running mean that the study states."""
        found = [(f"running_mean({n}, {d})", "running_mean", n, d) for n, windows in self._dynamic.items() for d in windows or []]
        for name in self._derived:
            one = parse_derived(name, self._dynamic)
            if one.variable is not None and one.number is not None:
                found.append((name, one.function, one.variable, one.number))
        return found

    def _too_long(self) -> list[tuple[str, str, int]]:
        """Function, variable and number of what begins to hold after the study's first step; of what is asked for only as it is filled."""
        asked = [(f, v, n) for _, f, v, n in self.asked()] if self.spin_up == "mean_season" else []
        usual = [("running_mean", name, d) for name, given in self._dynamic.items() if given is None for d in MEMORY_DAYS]
        return [one for one in dict.fromkeys([*asked, *usual]) if span(one[0], one[2], self.steps) - 1 > self.before]

    def _holds_from(self, function: str, number: int) -> str:
        width = span(function, number, self.steps)
        return _said(pd.date_range(self.first, periods=width, freq=self.steps.length.frequency)[-1], self.steps)

    def lines(self) -> list[str]:
        """A line of each predictor and window that the record is too short for: from when it would hold, and what is done about it."""
        begin, filled = _said(self.first, self.steps), self.spin_up == "mean_season"
        done = "before, the mean season stands in" if filled else "it is not used; give earlier files or `spin_up: mean_season`"
        would = "it holds" if filled else "it would hold"
        said = []
        for function, variable, number in self._too_long():
            what = f"lag by {number} steps" if function == "lag" else f"running mean of {number} days"
            said.append(f"{what} of `{variable}`: the record begins {begin}, {would} from {self._holds_from(function, number)}; {done}")
        return said

    def summary(self) -> str:
        """All of it in a line; empty where the record is long enough."""
        windows: dict[str, list[str]] = {}
        for function, variable, number in self._too_long():
            what = f"{number} {'steps' if function == 'lag' else 'days'} from {self._holds_from(function, number)}"
            windows.setdefault(what, []).append(variable)
        if not windows:
            return ""
        names = list(dict.fromkeys(name for some in windows.values() for name in some))
        of = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        begin = _said(self.first, self.steps)
        if self.spin_up == "mean_season":
            return f"of {of}: the record begins {begin}; before it the mean season, without which {', '.join(windows)} would hold"
        return f"not used of {of}: {', '.join(windows)} would hold; the record begins {begin}; give earlier files or `spin_up: mean_season`"


def _said(time: pd.Timestamp, steps: Steps) -> str:
    return f"{time:%Y-%m}" if steps.length.is_month else f"{time:%Y-%m-%d}"


def before_record(values: np.ndarray, first: pd.Timestamp, missing: int, season: np.ndarray, steps: Steps) -> np.ndarray:
    """A record with its mean season in front.

    Parameters
    ----------
    values : array, (step, cell)
    first : Timestamp
        Of its steps.
    missing : int
        Steps to put in front.
    season : array, (part of the mean year, cell)
    steps : Steps
        Of the study, for the length of a step.

    Returns
    -------
    array, (missing + step, cell)
    """
    earlier = pd.date_range(end=first, periods=missing + 1, freq=steps.length.frequency)[:-1]
    return np.concatenate([season[steps.length.season(earlier)].astype(values.dtype), values])

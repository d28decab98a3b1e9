"""What a study file can say about a predictor."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dualflux.errors import InputError, Problems
from dualflux.sources.files.plausible import FillValues, Implausible
from dualflux.sources.predictors.missing import MissingRule

DERIVED_FORMS = (
    "potential_radiation, potential_radiation_change, mean_season(x), anomaly(x), lag(x, steps), running_mean(x, days), "
    "water_balance(rain, temperature), water_balance(rain, temperature, potential_evaporation)"
)
_DERIVED = re.compile(
    r"(?P<alone>potential_radiation(?:_change)?)|(?P<of>mean_season|anomaly)\((?P<one>\w+)\)"
    r"|(?P<counted>lag|running_mean)\((?P<two>\w+)\s*,\s*(?P<number>[1-9]\d*)\)"
    r"|(?P<water>water_balance)\((?P<several>\w+\s*,\s*\w+(?:\s*,\s*\w+)?)\)"
)
LEADING = {
    "dynamic": ("time",),
    "static": (),
    "climatology": ("month",),
    "fractions": ("class",),
    "series": ("time",),
}  # dimensions of each

_OF_LAND = ("per", "missing", "at_towers", "site_column", "running_means", "smooth")  # keys that a series takes no part in
CAPACITY = 150.0  # mm: the field capacity of all soils in Manabe (1969), Mon. Weather Rev. 97, 739
WARM_UP_DAYS = 366  # at least: what the default running means look back to

SpinUp = Literal["record", "mean_season"]
Kind = Literal["dynamic", "static", "climatology", "fractions", "series"]
Interpolation = Literal["constant", "linear"]


class PredictorSettings(BaseModel):
    """One predictor of the study file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    suffix: ClassVar[tuple[str, ...]] = (".nc", ".nc4", ".nc.gz")

    name: str = Field(description="Name inside the study; a derived predictor's name says what it is, for example mean_season(ta)")
    path: Annotated[str | list[str], Field(min_length=1)] | None = Field(
        None,
        description="NetCDF file or Zarr store, relative to the data root; of a dynamic predictor also a pattern (ta_*.nc), a folder or a "
        "list: one file per year or month is read as one record",
    )
    variable: str | None = Field(None, description="Variable in the file; default: the name")
    kind: Kind | None = Field(
        None, description="dynamic (time), static, climatology (12 months), fractions (classes) or series (time alone)"
    )
    units: str | None = Field(None, description="Unit inside the study; default: the file's")
    file_units: str | None = Field(None, description="Unit of the file's values, where its attribute `units` is wrong or cannot be read")
    per: Literal["hour", "day", "step"] | None = Field(
        None, description="The values are sums (`J m-2`, `m`) over an hour, a day or the file's own time step; they are made rates"
    )
    fill_value: FillValues | None = None
    implausible: Implausible = "error"
    missing: MissingRule = Field("error", description="Land cells without a value: error, drop, nearest, or {value: x}")
    smooth: float | None = Field(
        None, gt=0, le=3000, description="Mean over the land around a cell, a Gaussian of this standard deviation [km]; not of fractions"
    )
    derived: bool = Field(False, description="Computed by dualflux; needs no file")
    capacity: float | None = Field(
        None, gt=0, le=5000, description="Water that the soil of water_balance(...) holds when full [mm]; default 150"
    )
    at_towers: Literal["cell", "site"] = Field("cell", description="A tower's value: that of its cell, or of its own meteorology")
    site_column: str | None = Field(None, description="Column of the tower table for at_towers: site; default: the name")
    interpolation: Interpolation | None = Field(
        None, description="Of a series with one value a year: constant in the year, or linear between the middles of years"
    )
    running_means: list[int] | None = Field(None, description="Windows [days] of running means of a dynamic predictor; default 30, 90, 365")

    @model_validator(mode="after")
    def _complete(self) -> "PredictorSettings":
        if self.capacity is not None and not (self.derived and self.name.startswith("water_balance(")):
            raise ValueError(f"predictor `{self.name}`: `capacity` belongs to water_balance(rain, temperature); remove it")
        if self.derived:
            of_files = (self.path, self.variable, self.kind, self.file_units, self.per, self.fill_value, self.smooth, self.interpolation)
            if any(value is not None for value in of_files):
                raise ValueError(
                    f"predictor `{self.name}`: a derived predictor has no path, variable, kind, file_units, per, fill_value, smooth or "
                    "interpolation; remove them or `derived`"
                )
            return self
        if self.path is None or self.kind is None:
            raise ValueError(f"predictor `{self.name}`: give `path` and `kind` ({', '.join(LEADING)}), or `derived: true`")
        if not re.fullmatch(r"\w+", self.name):
            raise ValueError(f"predictor `{self.name}`: a name has letters, digits and `_` only")
        self._refuse_other_kinds()
        if self.running_means is not None and (self.kind != "dynamic" or min(self.running_means, default=1) < 1):
            raise ValueError(f"predictor `{self.name}`: running_means are whole days from 1 and belong to a dynamic predictor")
        if self.smooth is not None and self.kind == "fractions":
            raise ValueError(f"predictor `{self.name}`: `smooth` is for kinds dynamic, static and climatology; remove it")
        if self.per == "step" and self.kind != "dynamic":
            raise ValueError(f"predictor `{self.name}`: `per: step` needs kind dynamic; for others say `per: day` or `per: hour`")
        if self.site_column is not None and self.at_towers != "site":
            raise ValueError(f"predictor `{self.name}`: `site_column` needs `at_towers: site`")
        return self

    def _refuse_other_kinds(self) -> None:
        """Keys of a predictor on land that a series has no use for, and the reverse."""
        if self.kind != "series":
            if self.interpolation is not None:
                raise ValueError(f"predictor `{self.name}`: `interpolation` belongs to kind series; remove it")
            return
        idle = [name for name in _OF_LAND if getattr(self, name) != type(self).model_fields[name].default]
        if idle:
            raise ValueError(
                f"predictor `{self.name}`: a series has one value for all land at a time and every one is needed, so it takes no "
                f"{', '.join(f'`{name}`' for name in idle)}; remove {'it' if len(idle) == 1 else 'them'}"
            )


@dataclass(frozen=True)
class Recipe:
    """How columns are made from predictors, where their names do not say it.

    Attributes
    ----------
    spin_up : {"record", "mean_season"}
        What lags and running means see of the time before the record: nothing, so that the record must reach back, or the mean season.
    capacity : dict
        Of each water balance [mm].
    """

    spin_up: SpinUp
    capacity: dict[str, float]

    @classmethod
    def of(cls, settings: Sequence[PredictorSettings], spin_up: SpinUp) -> "Recipe":
        """That of a study."""
        buckets = [one for one in settings if one.derived and one.name.startswith("water_balance(")]
        return cls(spin_up, {one.name: CAPACITY if one.capacity is None else one.capacity for one in buckets})


FROM_RECORD = Recipe("record", {})


def say_paths(path: str | list[str] | None) -> str:
    """What the study calls a predictor's files."""
    return path if isinstance(path, str) else ", ".join(path or [])


class Derived(NamedTuple):
    """What a derived predictor's name says: ``running_mean(ta, 90)`` is ("running_mean", "ta", 90).

    Attributes
    ----------
    function : str
    variable : str or None
        The dynamic predictor it is made from.
    number : int or None
        Steps of a lag, days of a running mean.
    several : tuple of str
        Predictors of a function of more than one, `variable` first.
    """

    function: str
    variable: str | None
    number: int | None
    several: tuple[str, ...] = ()


def parse_derived(name: str, dynamic: Collection[str]) -> Derived:
    """Take a derived predictor's name apart.

    Parameters
    ----------
    name : str
    dynamic : collection of str
        Names of the study's dynamic predictors.

    Raises
    ------
    InputError
        An unknown form, or one made from something that is not a dynamic predictor.
    """
    match = _DERIVED.fullmatch(name)
    if match is None:
        raise InputError(f"predictor `{name}`: not a derived predictor; allowed: {DERIVED_FORMS}")
    several = tuple(re.split(r"\s*,\s*", match["several"])) if match["several"] else ()
    source = match["one"] or match["two"] or (several[0] if several else None)
    unknown = [one for one in dict.fromkeys([*([source] if source else []), *several]) if one not in dynamic]
    if unknown:
        raise InputError(
            [
                f"predictor `{name}`: `{one}` is not a dynamic predictor of this study; allowed: {', '.join(dynamic) or 'none here'}"
                for one in unknown
            ]
        )
    function = match["alone"] or match["of"] or match["counted"] or match["water"]
    return Derived(function, source, int(match["number"]) if match["number"] else None, several)


OF_SERIES = ("lag", "running_mean")  # what can be derived from a series


def of_time(settings: Sequence[PredictorSettings]) -> list[PredictorSettings]:
    """Predictors of time alone: series, and what is derived from them."""
    series = {s.name for s in settings if s.kind == "series"}
    return [s for s in settings if s.kind == "series" or (s.derived and _source(s.name) in series)]


def of_network(settings: Sequence[PredictorSettings]) -> list[PredictorSettings]:
    """Predictors that enter the network's hidden layers: all others."""
    alone = of_time(settings)
    return [s for s in settings if s not in alone]


def _source(name: str) -> str | None:
    """What a derived predictor is made from; None where it is made from nothing, or is none."""
    match = _DERIVED.fullmatch(name)
    return None if match is None else match["one"] or match["two"]


def parse_of_series(name: str, series: Collection[str]) -> Derived:
    """`parse_derived` of what is made from a series: a lag or a running mean, which is a series again."""
    found = parse_derived(name, series)
    if found.function not in OF_SERIES:
        raise InputError(
            f"predictor `{name}`: `{found.variable}` is a series, whose mean season is taken out anyway; allowed: lag({found.variable}, "
            f"steps), running_mean({found.variable}, days)"
        )
    return found


def check_names(settings: Sequence[PredictorSettings]) -> None:
    """Names must be unique, and derived predictors known and made from a dynamic one of the study or from a series.

    Raises
    ------
    InputError
        All problems at once.
    """
    problems = Problems()
    names = [s.name for s in settings]
    dynamic = [s.name for s in settings if s.kind == "dynamic"]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.add(f"predictor `{name}`: named {names.count(name)} times; give each predictor its own name")
    series = [s.name for s in settings if s.kind == "series"]
    for name in (s.name for s in settings if s.derived):
        with problems.collect():
            if _source(name) in series:
                parse_of_series(name, series)
            else:
                parse_derived(name, dynamic)
    if series and not of_network(settings):
        problems.add(f"predictors: {', '.join(series)}: series alone tell no place from another; give predictors on land too")
    problems.raise_if_any()


def warm_up_days(settings: Sequence[PredictorSettings], time_step: str) -> int:
    """Days before the period that the study's lags and running means look back to, at least `WARM_UP_DAYS`.

    Examples
    --------
    >>> ta = PredictorSettings(name="ta", path="x.nc", kind="dynamic", running_means=[90, 730])
    >>> warm_up_days([ta], "monthly"), warm_up_days([PredictorSettings(name="lag(ta, 24)", derived=True)], "monthly")
    (730, 744)
    """
    network = of_network(settings)
    wanted = [days for s in network for days in s.running_means or []]
    for match in (_DERIVED.fullmatch(s.name) for s in network if s.derived):
        if match and match["number"]:
            longest_step = 31 if match["counted"] == "lag" and time_step == "monthly" else 1
            wanted.append(int(match["number"]) * longest_step)
    return max([WARM_UP_DAYS, *wanted])

"""The study file: composes the settings classes that live beside their functions. Computes nothing."""

import calendar
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from dualflux.constraints.inversions.observations import HoldoutSettings, InversionTermSettings
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.errors import InputError, Problems
from dualflux.fitting.training import TrainingSettings
from dualflux.metrics.budget import BudgetSettings
from dualflux.model.flux_model import NetworkSettings
from dualflux.model.spatial_effect import SpatialSettings
from dualflux.sources.adjustments import AdjustmentSettings, TargetKind, check_target
from dualflux.sources.files.tables import find_files
from dualflux.sources.inversions import InversionSource
from dualflux.sources.land.read import LandFractionSettings, NoFluxSettings
from dualflux.sources.land.region_masks import RegionSettings
from dualflux.sources.land.vector_files import side_files
from dualflux.sources.predictors.missing import MissingRule
from dualflux.sources.predictors.settings import PredictorSettings, SpinUp, check_names, of_time
from dualflux.sources.references import ReferenceSource, TableReference
from dualflux.sources.towers import FluxnetSource, TowerSource
from dualflux.study.part import part_of, values_of
from dualflux.study.settings_errors import explain, place_of, without_wrong
from dualflux.study.together import Keys, together
from dualflux.study.yaml_reader import Location, read_yaml
from dualflux.variants import ConstraintName, Variants, possible
from dualflux.vegetation import VegetationSettings

NOTHING_CONSTRAINS = "towers and inversions are both empty: nothing constrains the flux; give at least one of them"
DATA_ROOT_VARIABLE = "DUALFLUX_DATA"
_NO_SOURCES = (
    "vegetation",
    "network",
    "spatial_term",
    "tower_term",
    "inversion_term",
    "training",
    "holdout",
    "seed",
)  # no file is read otherwise for them


class GridSettings(BaseModel):
    """The grid of the products."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: float = Field(1.0, gt=0, le=90, description="cell size [degrees]; divides 180")

    @field_validator("resolution")
    @classmethod
    def _divides(cls, resolution: float) -> float:
        if abs(round(180 / resolution) * resolution - 180) > 1e-6:
            raise ValueError(f"{resolution} degrees does not divide 180; use for example 0.5, 1 or 2")
        return resolution


def whole_months(period: tuple[date, date]) -> tuple[date, date]:
    """The period; ValueError where it runs backwards or holds parts of months."""
    first, last = period
    if first > last:
        raise ValueError(f"{first} to {last} runs backwards; give the first day, then the last")
    if first.day != 1 or last.day != calendar.monthrange(last.year, last.month)[1]:
        raise ValueError(f"{first} to {last}: start on the first and end on the last day of a month (regional integrals are monthly)")
    return period


class StudySettings(BaseModel):
    """Everything a study file can say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="names the run folder")
    period: tuple[date, date] = Field(description="first and last day, both included; whole months")
    fit_period: tuple[date, date] | None = Field(
        None, description="towers and inversions constrain inside it only; default: the whole period"
    )
    time_step: Literal["monthly", "daily"] = Field("monthly", description="time step of predictors and towers")
    grid: GridSettings = GridSettings()
    seed: int = Field(1, ge=0, lt=2**32, description="the same seed gives the same result on the same machine")
    data_root: str = Field(".", description="folder the paths below start from, relative to the study file")
    towers: list[TowerSource] = Field(description="eddy covariance; [] for a study of inversions alone")
    predictors: list[PredictorSettings] = Field(min_length=1)
    missing: MissingRule = Field("error", description="of every predictor from a file that does not say its own `missing`")
    spin_up: SpinUp = Field(
        "record",
        description="what lags and running means see before `period`: record (files that begin earlier; default windows that these are too "
        "short for are not used) or mean_season (that of `period` stands in for what the files lack)",
    )
    land_fraction: LandFractionSettings
    regions: RegionSettings
    no_flux: NoFluxSettings = NoFluxSettings()
    vegetation: VegetationSettings | None = Field(
        None, description="land without vegetation has no flux; without this key it carries flux like any other"
    )
    inversions: list[InversionSource] = Field(description="[] for a study of towers alone")
    target: TargetKind = Field("tower_nee", description="what the inversions are made comparable with")
    adjustments: list[AdjustmentSettings] = []
    network: NetworkSettings = NetworkSettings()
    spatial_term: SpatialSettings = SpatialSettings()
    tower_term: TowerTermSettings = TowerTermSettings()
    inversion_term: InversionTermSettings = InversionTermSettings()
    training: TrainingSettings = TrainingSettings()
    variants: Variants
    holdout: HoldoutSettings = HoldoutSettings()
    references: list[ReferenceSource] = Field([], description="products to compare with")
    independent: list[BudgetSettings] = Field(
        [], description="annual global estimates that no inversion of the study used, to compare with"
    )
    figure_regions: list[str] = Field(
        ["BRA", "EU", "global"],
        min_length=1,
        description="panels of the seasonal-cycle figure: regions of the study, of the packaged mask gcp18, or global",
    )
    truth: str | None = Field(None, description="folder with the truth of a synthetic world, to score against; real studies have none")

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if name.startswith(".") or any(c in '/\\:*?"<>|' or not c.isprintable() for c in name) or name != name.strip():
            raise ValueError("allowed: letters, digits, `_`, `-`, `.` and blanks inside; not starting with a dot: it becomes a folder")
        return name

    @field_validator("period", "fit_period")
    @classmethod
    def _whole_months(cls, period: tuple[date, date] | None) -> tuple[date, date] | None:
        return None if period is None else whole_months(period)

    @model_validator(mode="after")
    def _fit_inside(self) -> "StudySettings":
        first, last = self.fitted
        if first < self.period[0] or last > self.period[1]:
            raise ValueError(
                f"fit_period {first} to {last} reaches outside the period {self.period[0]} to {self.period[1]}; widen `period`"
            )
        return self

    @property
    def fitted(self) -> tuple[date, date]:
        """First and last day of what constrains."""
        return self.fit_period or self.period

    @model_validator(mode="after")
    def _library_is_gridded(self) -> "StudySettings":
        gridded = [source.product for source in self.references if not isinstance(source, TableReference)]
        if unknown := [name for name in self.inversion_term.library if name not in gridded]:
            raise ValueError(
                f"inversion_term.library: {', '.join(unknown)}: allowed: gridded products of `references`"
                f" ({', '.join(gridded) or 'this study names none'})"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _missing_of_each(cls, values: Any) -> Any:
        """The study's `missing` is written into every predictor that does not say its own."""
        if not isinstance(values, dict) or not isinstance(values.get("predictors"), list) or not _is_missing_rule(values.get("missing")):
            return values
        rule = {"missing": values["missing"]}
        takes = lambda one: isinstance(one, dict) and not one.get("derived") and one.get("kind") != "series"  # noqa: E731
        each = [rule | one if takes(one) else one for one in values["predictors"]]
        return {**values, "predictors": each}

    @model_validator(mode="before")
    @classmethod
    def _all_that_are_possible(cls, values: Any) -> Any:
        """Without `variants`: every built-in one that the study's sources allow."""
        if not isinstance(values, dict) or "variants" in values:
            return values
        if values.get("towers") == [] and values.get("inversions") == []:
            raise ValueError(NOTHING_CONSTRAINS)
        there = [name for name in get_args(ConstraintName) if values.get(name, True)]  # a missing key is said elsewhere
        return {**values, "variants": list(possible(there))} if there else values

    @model_validator(mode="after")
    def _constrained(self) -> "StudySettings":
        there = [name for name in get_args(ConstraintName) if getattr(self, name)]
        if not there:
            raise ValueError(NOTHING_CONSTRAINS)
        for name, variant in self.variants.items():
            if lacking := [c for c in variant.constraints if c not in there]:
                raise ValueError(
                    f"variants: {name} is trained on {', '.join(lacking)}, of which the study has none; take it out or give files"
                )
        return self


def _is_missing_rule(value: Any) -> bool:
    try:
        TypeAdapter(MissingRule).validate_python(value)
    except ValidationError:
        return False
    return True


@dataclass(frozen=True)
class Study:
    """A study file that was read and found right.

    Attributes
    ----------
    settings : StudySettings
    file : Path
        The study file.
    root : Path
        Absolute data root; paths in the settings start here.
    out : Path
        Absolute run folder.
    """

    settings: StudySettings
    file: Path
    root: Path
    out: Path

    def resolved(self) -> dict[str, Any]:
        """All settings, defaults written out, the data root absolute; plain JSON values."""
        return {**self.settings.model_dump(mode="json"), "data_root": str(self.root)}

    def part(self, *names: str) -> dict[str, Any]:
        """The named settings as plain JSON values, also ``network.folds``: what a stage depends on."""
        return values_of(self.settings, names)

    def only(self, *names: str) -> "Study":
        """The same study with the named settings alone; reading another raises UndeclaredSettingError."""
        return replace(self, settings=part_of(self.settings, names))

    def input_files(self) -> list[Path]:
        """Every file (or Zarr store) the study reads, each once; of shapefiles all parts.

        Raises
        ------
        InputError
            Files that do not exist, patterns that match nothing; all at once.
        """
        problems, found = Problems(), list[Path]()
        for path, suffix in _paths(self.settings):
            with problems.collect():
                found += [self.root / path] if (self.root / path).suffix == ".zarr" else find_files(path, self.root, suffix)
        problems.raise_if_any()
        return list(dict.fromkeys([*found, *(part for path in found for part in side_files(path))]))

    def to_yaml(self) -> str:
        """`resolved` as a study file that gives the same study again."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True, width=120)


def load_study(path: Path | str, data_root: Path | str | None = None, out: Path | str | None = None) -> Study:
    """Read a study file.

    Parameters
    ----------
    path : Path
    data_root : Path, optional
        Instead of the study's own `data_root`; by default the environment variable DUALFLUX_DATA, where it is set.
    out : Path, optional
        The run folder; by default ``runs/NAME`` beside the study file.

    Raises
    ------
    InputError
        Every problem of the file: key path, line, what came, what is allowed.
    """
    study, problems = load_study_to_check(path, data_root, out)
    if study is None or problems:
        raise InputError(problems)
    return study


def load_study_to_check(
    path: Path | str, data_root: Path | str | None = None, out: Path | str | None = None
) -> tuple[Study | None, list[str]]:
    """Read a study file, and go on where the settings that are wrong stand in no file's way.

    Returns
    -------
    study : Study or None
        With defaults in place of wrong settings of network, training and so on; None where a source or the grid is not understood.
    problems : list of str
        As those `load_study` raises.
    """
    file = Path(path).absolute()
    values, lines = read_yaml(file)
    settings, wrong = _settings(values, lines, file.name)
    if settings is None:
        return None, wrong
    problems = Problems()
    problems.found += wrong
    s = settings
    for where, said in together(_keys(s)):
        problems.add(f"{place_of(where, lines, file.name)}: {said}")
    before = len(problems.found)
    with problems.collect():
        check_names(settings.predictors)
    with problems.collect():
        check_target(settings.target, settings.inversions, settings.adjustments)
    root = data_root_of(settings.data_root, file, data_root)
    if not root.is_dir():
        problems.add(f"{file.name}: data root {root} is no folder; set `data_root`, --data-root or {DATA_ROOT_VARIABLE}")
    if len(problems.found) > before:
        return None, problems.found
    folder = Path(out).absolute() if out is not None else file.parent / "runs" / settings.name
    return Study(settings, file, Path(os.path.normpath(root)), Path(os.path.normpath(folder))), problems.found


def _keys(s: StudySettings) -> Keys:
    series = tuple(one.name for one in of_time(s.predictors))
    inverted = any("inversions" in variant.constraints for variant in s.variants.values())
    kinds = {one.name: str(one.kind) for one in s.predictors if not one.derived}
    return Keys(s.fitted, bool(s.towers), bool(s.inversions), s.inversion_term, s.holdout, s.truth, series, inverted, s.vegetation, kinds)


def _settings(values: dict[str, Any], lines: dict[Location, int], name: str) -> tuple[StudySettings | None, list[str]]:
    """The settings, wrong ones of no source left out as often as that brings up others; and what is wrong."""
    found: list[str] = []
    while True:
        try:
            return StudySettings.model_validate(values), list(dict.fromkeys(found))
        except ValidationError as error:
            found += explain(error, StudySettings, values, lines, name)
            without = without_wrong(error, values, _NO_SOURCES)
        if without is None:
            return None, list(dict.fromkeys(found))
        values = without


def data_root_of(stated: str, file: Path, option: Path | str | None) -> Path:
    """Where relative paths start: --data-root, else the environment variable, else what the file says."""
    return Path(os.path.normpath(Path(option or os.environ.get(DATA_ROOT_VARIABLE) or file.parent / stated).absolute()))


def _paths(settings: StudySettings) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """Every path, file pattern or folder of the settings, and the suffixes of the files meant in a folder."""
    for source in [*settings.towers, *settings.references]:
        if isinstance(source, FluxnetSource):
            yield from ((path, (".csv", ".zip")) for path in source.paths)
        else:
            suffix = getattr(source, "suffix", ".csv")
            yield from ((path, suffix) for path in ([source.path] if isinstance(source.path, str) else source.path))
    for one in [*settings.predictors, settings.land_fraction, settings.regions, *settings.inversions, *settings.adjustments]:
        path = getattr(one, "path", None)  # derived predictors, packaged regions and latitude bands have none
        if path is not None:
            yield from ((each, getattr(one, "suffix", ".nc")) for each in ([path] if isinstance(path, str) else path))


def study_schema() -> str:
    """The JSON schema of a study file, as text (docs/study.schema.json)."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **StudySettings.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

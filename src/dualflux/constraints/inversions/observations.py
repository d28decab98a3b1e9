"""What inversions say: regional integrals of an ensemble, their mean and its error, and the same with something left out."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal, Protocol, Self

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dualflux.constraints.base import generator
from dualflux.constraints.inversions.covariance import EnsembleError
from dualflux.constraints.inversions.ensemble_mean import ensemble_mean, family_means, to_year_month
from dualflux.constraints.inversions.mean_error import MeanError, SpreadKind
from dualflux.constraints.inversions.own_error import estimate_own_error
from dualflux.cube import Cube, Steps
from dualflux.errors import InputError
from dualflux.grid import LandCells
from dualflux.sources.adjustments import Target

# `locations` is of use to all: the misfit that training notes now and then is sampled with `exact` too.
_ESTIMATORS_THAT_USE = {
    "years": ("stratified", "representative"),
    "error_target": ("representative",),
    "library": ("representative",),
}


class InversionTermSettings(BaseModel):
    """How regional integrals enter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    estimator: Literal["exact", "representative", "stratified"] = Field(
        "stratified",
        description="in training; exact: every cell; representative: few cells, chosen once; stratified: fresh random cells each step",
    )
    weight: Annotated[float, Field(gt=0, le=1000)] | Literal["auto"] = Field(
        "auto", description="tempering power of the inversions' likelihood; 1 = Bayes"
    )
    locations: int = Field(
        16, ge=2, description="per region; stratified: random, per sample and step; representative: chosen once, a mean over regions"
    )
    error_target: float | None = Field(
        None, gt=0, description="representative: rms error of a region's annual integral [PgC yr-1]; more locations where it needs them"
    )
    library: tuple[str, ...] = Field(
        (), description="representative: gridded products among `references` whose fields join the library that weights are fitted to"
    )
    years: int = Field(4, ge=2, description="stratified, representative: random years per step")
    spread: SpreadKind = Field(
        "common",
        description="error of the mean of n products, s2 (k2 + 1/n): k, what they have in common, is drawn (common), 1 (exchangeable: "
        "truth is one more product) or 0 (centred: the products centre on it)",
    )
    anomaly_effect: bool = Field(
        True,
        description="regional anomalies that no predictor carries are unknowns too; their size is estimated from left-out years",
    )
    resample_years: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="length of a block [years]: each pair of members is fitted to years drawn in such blocks with replacement, in place of "
        "draws of the anomalies' errors; default: all years, and draws",
    )
    minimum_spread: Annotated[float, Field(gt=0)] | None = Field(
        None, description="least sd of every region's annual flux, and of each part of the error [PgC yr-1], where products do not differ"
    )

    @property
    def states_years(self) -> bool:
        """Whether `years` is another than the default, which is cut to the years that there are."""
        return bool(self.years != type(self).model_fields["years"].default)

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        users = _ESTIMATORS_THAT_USE
        idle = [
            name for name in users if self.estimator not in users[name] and getattr(self, name) != type(self).model_fields[name].default
        ]
        if idle:
            said = "; ".join(f"`{name}` is of use to {' and '.join(users[name])} only" for name in idle)
            raise ValueError(f"estimator {self.estimator}: {said}; remove {', '.join(idle)} or choose another estimator")
        return self


SHOWN_SHARES = (0.0, 0.5, 1.0)  # k: the spread does not tell it, so its weight is shown


@dataclass(frozen=True, eq=False)
class RegionalConstraint:
    """Monthly integrals of NEE over regions from an ensemble of inversions.

    Attributes
    ----------
    products : array, (product, region, year, 12)
        Adjusted integrals [PgC month-1], whole calendar years.
    names : tuple of str, (product,)
    regions : tuple of str, (region,)
    observed : array, (region, year, 12)
        Ensemble mean.
    error : EnsembleError
        R, of the mean: what residuals are weighed with.
    years : array of int, (year,)
    month : array of int, (year, 12)
        Position of each month in the study's time axis.
    drawn : MeanError or None
        What the draws of members are from, `error` its mean; None: `error` itself.
    """

    products: np.ndarray
    names: tuple[str, ...]
    regions: tuple[str, ...]
    observed: np.ndarray
    error: EnsembleError
    years: np.ndarray
    month: np.ndarray
    drawn: MeanError | None = None

    def draws(self, count: int, seed: int, lasting: bool = False) -> np.ndarray:
        """Targets of `count` members, (member, region, year, 12): antithetic pairs, so that they average to `observed`.

        `lasting`: with what errors have in common in all years alone, no anomalies.
        """
        random = generator((seed,), "inversions")
        error = self.error if self.drawn is None else self.drawn
        pairs = [error.draw(random, len(self.years)) for _ in range((count + 1) // 2)]
        if lasting:
            pairs = [np.broadcast_to(e.mean(axis=1, keepdims=True), e.shape) for e in pairs]
        errors = [sign * e for e in pairs for sign in (1.0, -1.0)]
        if count % 2:
            errors[count - 1] = np.zeros_like(errors[0])
        return self.observed + np.stack(errors[:count])


def resampled(years: int, block: int, random: np.random.Generator) -> np.ndarray:
    """Positions of years drawn with replacement in blocks of neighbours, (year,): as many as there are, the first follows the last.

    The circular block bootstrap of Politis and Romano (1992): every year is drawn equally often on average.
    """
    first = random.integers(years, size=-(-years // block))
    return np.asarray((first[:, None] + np.arange(block)).ravel()[:years] % years)


def check_lines(regional: RegionalConstraint) -> list[str]:
    """What a study has of inversions, in words: products, regions, years, and the sd of each part of R."""
    names, years, error = regional.names, regional.years, regional.error
    lines = [f"{len(names)} products ({', '.join(names)}), {len(regional.regions)} regions, {len(years)} years {years[0]} to {years[-1]}"]
    sds = [np.concatenate(parts) for parts in zip(_sds(error.marginals()), _sds(error.marginals_of_total()), strict=True)]
    for name, offset, cycle, anomaly in zip([*regional.regions, "sum of regions"], *sds, strict=True):
        lines.append(f"sd of the mean, {name}: offset {12 * offset:.2g} PgC/yr, cycle {cycle:.2g}, anomaly {anomaly:.2g} PgC/month")
    if regional.drawn is not None:
        totals = [12 * float(np.sqrt(regional.drawn.at_share(share).marginals_of_total()[0][0])) for share in SHOWN_SHARES]
        shares = ", ".join(f"{total:.2g} at k = {share:g}" for share, total in zip(SHOWN_SHARES, totals, strict=True))
        lines.insert(-1, f"sd of the mean, sum of regions, if all products share k of their own error: offset {shares} PgC/yr")
    return lines


def _sds(parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Sd of the offset, and root mean square over months of the sds of cycle and anomalies, (region,) each [PgC month-1]."""
    offset, cycle, anomaly = parts
    return [np.sqrt(offset), *(np.sqrt(np.einsum("rii->r", part) / 12) for part in (cycle, anomaly))]


def from_inversions(
    target: Target, steps: Steps, region_names: tuple[str, ...], region_area: np.ndarray, settings: InversionTermSettings,
    fit_period: tuple[date, date], leave_out: str | None = None, leave_out_years: tuple[int, int] | None = None,
    emissions: dict[str, float] | None = None,
) -> RegionalConstraint:  # fmt: skip
    """Make the regional constraint from the whole years of `fit_period`.

    Products of one family count as one. A product or family, or a span of years, may be left out of everything, error model
    included; constant `emissions` by region [PgC yr-1] are subtracted beside the adjustments of the target.
    """
    integral = target.integral.sel(region=list(region_names))
    if emissions is not None:
        rate = xr.DataArray([emissions[name] for name in region_names], {"region": list(region_names)})
        integral = integral - rate * integral.time.dt.days_in_month / xr.where(integral.time.dt.is_leap_year, 366, 365)
    if leave_out is not None:
        integral = integral.sel(product=_family(integral) != leave_out)
    values, years = to_year_month(integral.transpose("product", "region", "time"))
    use = np.array([date(y, 1, 1) >= fit_period[0] and date(y, 12, 31) <= fit_period[1] for y in years])
    if leave_out_years is not None:
        use &= (years < leave_out_years[0]) | (years > leave_out_years[1])
    if not use.any():
        raise InputError(f"inversions: no whole year is left to fit in {fit_period[0]} to {fit_period[1]}; widen `fit_period` or `holdout`")
    values, years = values[:, :, use], years[use]
    there = np.isfinite(values).any(axis=(1, 2, 3))
    values, names = family_means(values[there], [str(name) for name in _family(integral).to_numpy()[there]])
    own = estimate_own_error(values, region_area, settings.minimum_spread, region_names)
    drawn = MeanError(own, settings.spread, _adjustment_sd(target, region_names))
    month = np.array([[steps.months.get_loc(pd.Timestamp(y, m, 1)) for m in range(1, 13)] for y in years])
    return RegionalConstraint(values, names, region_names, ensemble_mean(values), drawn.expected(), years, month, drawn)


def _family(integral: xr.DataArray) -> xr.DataArray:
    """The system each product is a release of, (product,): its own name where the study says nothing."""
    return integral["family"] if "family" in integral.coords else integral["product"]


def _adjustment_sd(target: Target, region_names: tuple[str, ...]) -> np.ndarray:
    """Sd of the adjustments by calendar month, (region, 12) [PgC month-1]: along their own profile."""
    variance = target.adjustment_variance.sel(region=list(region_names)).groupby("time.month").mean("time")
    return np.sqrt(variance.reindex(month=np.arange(1, 13)).transpose("region", "month").fillna(variance.mean("month")).to_numpy())


class ConstantEmissions(BaseModel):
    """A constant emission per region that inversions see and towers do not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w+$")
    values: dict[str, float] = Field(description="of every region [PgC yr-1], positive to the atmosphere")
    source: str = Field(min_length=1, description="where the numbers are from")


class YearIndex(BaseModel):
    """A monthly index of the climate, such as Nino3.4."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="CSV with a column `time`, the first day of each month")
    variable: str = Field(min_length=1, description="its column")


class HoldoutSettings(BaseModel):
    """What is fitted once more with something left out or changed, to score or to see what was not used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    years: tuple[int, int] | Literal["each"] | None = Field(
        None,
        description="first and last year whose inversions are left out in one experiment; each: every fitted year in turn, towers, "
        "standardisation and error model too",
    )
    index: YearIndex | None = Field(None, description="years: each: a monthly index whose regression the predictions are compared with")
    inversions: bool = Field(False, description="leave each inversion out in turn")
    emissions: ConstantEmissions | None = Field(None, description="fit once more with these constant emissions subtracted as well")

    @field_validator("years")
    @classmethod
    def _forwards(cls, years: tuple[int, int] | Literal["each"] | None) -> tuple[int, int] | Literal["each"] | None:
        if years is not None and years != "each" and years[0] > years[1]:
            raise ValueError(f"{years[0]} to {years[1]} runs backwards; give the first year, then the last")
        return years

    @model_validator(mode="after")
    def _index_of_each(self) -> Self:
        if self.index is not None and not self.each_year:
            raise ValueError("`index` is of use with `years: each` only; remove it or leave each year out")
        return self

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last year of the one experiment without some years' inversions."""
        return None if self.years == "each" else self.years

    @property
    def each_year(self) -> bool:
        """Whether every fitted year is left out in turn."""
        return self.years == "each"

    @property
    def experiments(self) -> list[str]:
        """Keys that ask for something to be fitted once more."""
        return [name for name in ("years", "inversions", "emissions") if getattr(self, name)]


class Maker(Protocol):
    """``make(product, years, emissions)``: the regional constraint without a product or years, or with emissions subtracted."""

    def __call__(
        self, product: str | None, years: tuple[int, int] | None, emissions: dict[str, float] | None = None
    ) -> RegionalConstraint: ...


def constraint_maker(target: Target, cube: Cube, cells: LandCells, settings: InversionTermSettings, fit_period: tuple[date, date]) -> Maker:
    """How `plan_runs` makes regional constraints."""
    area = cells.region_area.sum(axis=1)

    def make(product: str | None, years: tuple[int, int] | None, emissions: dict[str, float] | None = None) -> RegionalConstraint:
        return from_inversions(target, cube.steps, cells.region_names, area, settings, fit_period, product, years, emissions)

    return make

"""The vegetation scale: how much of the flux that vegetated land would have a place can have at all.

    c(x) = min( ramp(greenness), 1 - sum of the fractions of bare classes ),    0 <= c <= 1,

the ramp 0 up to the first bound of a many-year maximum of greenness and 1 from the second on. The landscape's flux f, with all that
belongs to it (spatial effect, predictors of time alone, regional anomalies), is multiplied by c: land without vegetation exchanges nothing,
so a budget that no tower contradicts there cannot be put on it. g, what towers see beyond their landscape, is not.

Both terms are affine in standardised static columns, so c is a function of the rows that a network sees: at a tower, of the tower's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dualflux.errors import InputError

_ROUNDING = 1e-6  # of single precision in standardised fractions: below, c is 0


class VegetationSettings(BaseModel):
    """Land without vegetation has no flux: what tells it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    greenness: str | None = Field(None, description="Name of a static predictor: the greatest greenness of many years, such as NDVI")
    bounds: tuple[float, float] = Field(
        (0.12, 0.35), description="Of `greenness`: no flux up to the first, all of it from the second on, in proportion between"
    )
    land_cover: str | None = Field(None, description="Name of a fractions predictor")
    bare: tuple[str, ...] = Field((), description="Its classes without vegetation, such as barren land and water; ice is `no_flux`")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.greenness is None and self.land_cover is None:
            raise ValueError("neither `greenness` nor `land_cover`: name one of them or both, or remove the key `vegetation`")
        if (self.land_cover is None) != (not self.bare):
            raise ValueError("`land_cover` and `bare` belong together: name the fractions predictor and its classes without vegetation")
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds {self.bounds[0]:g} and {self.bounds[1]:g} do not ascend; give the greenness of no flux first")
        return self

    def in_words(self) -> str:
        """What it is made from."""
        ramp = [] if self.greenness is None else [f"{self.greenness} ({self.bounds[0]:g}: no flux, {self.bounds[1]:g}: all of it)"]
        bare = [] if self.land_cover is None else [f"{', '.join(self.bare)} of {self.land_cover} (no flux)"]
        return " and ".join([*ramp, *bare])


NO_SCALE = "no vegetation scale: land without vegetation carries flux like any other (key `vegetation`)"


@dataclass(frozen=True)
class Term:
    """Something affine in the static columns.

    Attributes
    ----------
    intercept : float
    slope : tuple of (int, float)
        Position among the static columns, and what it is multiplied by.
    """

    intercept: float
    slope: tuple[tuple[int, float], ...]

    def at(self, static: Any) -> Any:
        """Value, (...), at standardised static columns (..., column)."""
        found = self.intercept
        for column, slope in self.slope:
            found = found + slope * static[..., column]
        return found


@dataclass(frozen=True)
class Vegetation:
    """c as a function of standardised static columns: the least of its terms, between 0 and 1."""

    terms: tuple[Term, ...]

    @classmethod
    def create(cls, settings: VegetationSettings, static: Sequence[str], centre: np.ndarray, scale: np.ndarray) -> "Vegetation":
        """Of the columns of a cube.

        Parameters
        ----------
        static : sequence of str
            Names of the static columns.
        centre, scale : array, (column,)
            What standardised them, the static ones first.

        Raises
        ------
        InputError
            A class that the fractions predictor lacks.
        """
        terms = []
        if settings.greenness is not None:
            (none, full), column = settings.bounds, static.index(settings.greenness)
            terms.append(Term((float(centre[column]) - none) / (full - none), ((column, float(scale[column]) / (full - none)),)))
        if settings.land_cover is not None:
            prefix = f"{settings.land_cover}_"
            require_bare_classes(settings, [name.removeprefix(prefix) for name in static if name.startswith(prefix)])
            columns = [static.index(f"{prefix}{name}") for name in dict.fromkeys(settings.bare)]
            share = float(sum(centre[c] for c in columns))
            terms.append(Term(1 - share, tuple((c, -float(scale[c])) for c in columns)))
        return cls(tuple(terms))

    def at(self, predictors: Any, xp: Any = np) -> Any:
        """c, (...), at predictors (..., column) whose first columns are the static ones.

        Parameters
        ----------
        xp : module
            numpy or jax.numpy.
        """
        found = xp.ones(predictors.shape[:-1], predictors.dtype)
        for term in self.terms:
            found = xp.minimum(found, term.at(predictors))
        return xp.where(found > _ROUNDING, found, 0)

    def plain(self) -> list[Any]:
        """As values for JSON."""
        return [[term.intercept, [list(pair) for pair in term.slope]] for term in self.terms]

    @classmethod
    def of_plain(cls, values: list[Any]) -> "Vegetation":
        """What `plain` gave."""
        return cls(tuple(Term(float(i), tuple((int(c), float(s)) for c, s in slope)) for i, slope in values))


def require_bare_classes(settings: VegetationSettings, classes: Sequence[str]) -> None:
    """Raise InputError for bare classes that the fractions predictor, with `classes`, has not."""
    if unknown := [name for name in settings.bare if name not in classes]:
        raise InputError(f"vegetation.bare: `{settings.land_cover}` has no class {', '.join(unknown)}; allowed: {', '.join(classes)}")

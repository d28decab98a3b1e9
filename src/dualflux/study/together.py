"""What must hold between keys of a study file, each of which is right alone: said before any file is read."""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from dualflux.constraints.inversions.observations import HoldoutSettings, InversionTermSettings
from dualflux.study.yaml_reader import Location
from dualflux.vegetation import VegetationSettings

Said = tuple[Location, str]
FEWEST_YEARS = 4  # that a prior of predictors of time alone is chosen on: one in each block of `fitting.series_choice`


class Keys(NamedTuple):
    """Keys that depend on each other.

    Attributes
    ----------
    fitted : tuple of date
        First and last day of what constrains.
    towers, inversions : bool
        Whether the study has any.
    term : InversionTermSettings
    holdout : HoldoutSettings
    truth : str or None
    series : tuple of str
        Predictors of time alone.
    inverted : bool
        Whether a variant is trained on inversions.
    vegetation : VegetationSettings or None
    kinds : dict
        Kind of each predictor from a file.
    """

    fitted: tuple[date, date]
    towers: bool
    inversions: bool
    term: InversionTermSettings
    holdout: HoldoutSettings
    truth: str | None
    series: tuple[str, ...]
    inverted: bool
    vegetation: VegetationSettings | None
    kinds: dict[str, str]


def together(keys: Keys) -> list[Said]:
    """Everything that does not go together: where it stands in the file, and what to do."""
    return [*_without_a_source(keys), *_years(keys), *_vegetation(keys)]


def _without_a_source(keys: Keys) -> Iterator[Said]:
    """Keys that ask for something of towers or inversions which the study has not."""
    if not keys.inversions:
        for key in keys.holdout.experiments:
            yield (
                ("holdout", key),
                "fits without some of the inversions, of which the study has none; remove the key or give `inversions`",
            )
    if keys.series and not keys.inverted:
        why = "how strongly series act is chosen on left-out years of inversions, and no variant of the study is trained on inversions"
        yield ("predictors",), f"{', '.join(keys.series)}: {why}; give `inversions` and such a variant, or remove the series"
    if keys.inversions and not keys.towers and keys.term.estimator == "representative":
        todo = "use `stratified` or `exact`"
        yield ("inversion_term", "estimator"), f"representative trains its library on towers, of which the study has none; {todo}"
    if keys.truth is not None and not (keys.towers and keys.inversions):
        yield ("truth",), "the scores of a synthetic world compare towers and inversions; give both or remove the key `truth`"


def _years(keys: Keys) -> Iterator[Said]:
    """Years that the study does not fit."""
    if not keys.inversions:
        return
    (first, last), held = keys.fitted, keys.holdout.span
    fitted = range(first.year + ((first.month, first.day) > (1, 1)), last.year + ((last.month, last.day) == (12, 31)))
    span = f"{fitted[0]} to {fitted[-1]}" if fitted else "no whole year"
    if keys.series and len(fitted) < FEWEST_YEARS:
        why = f"series need {FEWEST_YEARS} whole fitted years or more, to choose on years left out how strongly they act"
        yield ("predictors",), f"{', '.join(keys.series)}: {why}; the study fits {len(fitted)} ({span}): remove the series"
    if held is not None and not (held[0] in fitted and held[1] in fitted):
        yield ("holdout", "years"), f"came {held[0]} to {held[1]}; whole years that are fitted: {span}; choose years inside"
    block = keys.term.resample_years
    if block is not None and block >= len(fitted):
        why = f"a block is shorter than the {len(fitted)} whole years that are fitted ({span})"
        yield ("inversion_term", "resample_years"), f"came {block}; {why}: use a smaller number, or remove the key"
    if keys.term.states_years and keys.term.years > len(fitted):
        use = f"use at most {len(fitted)}, or remove the key"
        yield ("inversion_term", "years"), f"came {keys.term.years}; the study fits {len(fitted)} whole years ({span}): {use}"


def _vegetation(keys: Keys) -> Iterator[Said]:
    """Predictors that the vegetation scale is made from."""
    if keys.vegetation is None:
        return
    for key, kind in (("greenness", "static"), ("land_cover", "fractions")):
        name = getattr(keys.vegetation, key)
        known = [one for one, is_kind in keys.kinds.items() if is_kind == kind]
        if name is not None and name not in known:
            came = f"a predictor of kind {keys.kinds[name]}" if name in keys.kinds else "no predictor from a file"
            allowed = f"allowed: one of kind {kind} ({', '.join(known) or 'the study has none'})"
            yield ("vegetation", key), f"`{name}` is {came}; {allowed}; name one, or remove the key"

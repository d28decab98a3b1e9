"""What must hold between keys of a study file, each of which is right alone: said before any file is read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dualflux.constraints.inversions.observations import InversionTermSettings
from dualflux.study.yaml_reader import Location

if TYPE_CHECKING:
    from dualflux.study.settings import StudySettings

Said = tuple[Location, str]


def together(settings: "StudySettings") -> list[Said]:
    """Everything that does not go together: where it stands in the file, and what to do."""
    return [*_without_a_source(settings), *_years(settings)]


def _without_a_source(settings: "StudySettings") -> Iterator[Said]:
    """Keys that ask for something of towers or inversions which the study has not."""
    if not settings.inversions:
        for key in settings.holdout.experiments:
            yield (
                ("holdout", key),
                "leaves something of the inversions out, of which the study has none; remove the key or give `inversions`",
            )
    if settings.inversions and not settings.towers and settings.inversion_term.estimator == "representative":
        yield (
            ("inversion_term", "estimator"),
            "representative trains its library on towers, of which the study has none; use `stratified` or `exact`",
        )
    if settings.truth is not None and not (settings.towers and settings.inversions):
        yield ("truth",), "the scores of a synthetic world compare towers and inversions; give both or remove the key `truth`"


def _years(settings: "StudySettings") -> Iterator[Said]:
    """Years that the study does not fit."""
    if not settings.inversions:
        return
    first, last = settings.fitted
    fitted = range(first.year + ((first.month, first.day) > (1, 1)), last.year + ((last.month, last.day) == (12, 31)))
    span = f"{fitted[0]} to {fitted[-1]}" if fitted else "no whole year"
    held = settings.holdout.years
    if held is not None and not (held[0] in fitted and held[1] in fitted):
        yield ("holdout", "years"), f"came {held[0]} to {held[1]}; whole years that are fitted: {span}; choose years inside"
    wanted, usual = settings.inversion_term.years, InversionTermSettings.model_fields["years"].default
    if wanted > len(fitted) and wanted != usual:
        yield (
            ("inversion_term", "years"),
            f"came {wanted}; the study fits {len(fitted)} whole years ({span}): use at most {len(fitted)}, or remove the key",
        )

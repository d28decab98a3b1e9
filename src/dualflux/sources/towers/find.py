"""Which of the files that paths hold are read: one flux file per site and release."""

from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.towers.archives import TowerFile, tower_files
from dualflux.sources.towers.names import ProductName, parse_name
from dualflux.sources.towers.records import TimeStep
from dualflux.sources.towers.towers import SKIPPED_COLUMNS

_READ: dict[TimeStep, tuple[str, ...]] = {"monthly": ("MM", "DD", "HH", "HR"), "daily": ("DD", "HH", "HR")}
_EXAMPLE = "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2000-2012_1-4.csv"


@dataclass(frozen=True)
class NamedFile:
    """A file and what its name says."""

    file: TowerFile
    name: ProductName


@dataclass(frozen=True)
class Found:
    """What a source's paths hold.

    Attributes
    ----------
    flux : list of NamedFile
        One per site and release, sorted by site.
    site_facts : list of NamedFile
        BIF and SITEINFO files.
    skipped : DataFrame
        file, site, reason.
    """

    flux: list[NamedFile]
    site_facts: list[NamedFile]
    skipped: pd.DataFrame


def find_flux_files(paths: str | Sequence[str], root: Path, time_step: TimeStep) -> Found:
    """One flux file per site and release: the coarsest resolution that serves the study, the FULLSET before the SUBSET.

    Raises
    ------
    InputError
        A named file that is no flux file; none at all; a damaged archive; all at once.
    """
    problems, files = Problems(), dict[TowerFile, ProductName | None]()
    for path in [paths] if isinstance(paths, str) else paths:
        with problems.collect():
            files |= _files(path, root, time_step)
    problems.raise_if_any()
    reasons = {file: _not_read(name, time_step) for file, name in files.items()}
    skipped = [(file.label, name.site if name else "", reasons[file]) for file, name in files.items() if reasons[file]]
    useful = [NamedFile(file, name) for file, name in files.items() if name is not None and not reasons[file]]
    flux = [one for one in useful if one.name.kind == "flux"]
    chosen, others = _one_per_release(flux, time_step)
    if not chosen:
        counted = pd.Series([reason for _, _, reason in skipped], dtype=object).value_counts()
        said = "; ".join(f"{count} files: {reason}" for reason, count in counted.items()) or "no other file"
        steps = " or ".join(_READ[time_step])
        raise InputError(f"{paths}: no {steps} flux file below {root} ({said}); a {time_step} study reads no other")
    facts = [one for one in useful if one.name.kind == "site facts"]
    return Found(chosen, facts, pd.DataFrame([*skipped, *others], columns=SKIPPED_COLUMNS))


def _files(path: str, root: Path, time_step: TimeStep) -> dict[TowerFile, ProductName | None]:
    """Files behind one path; of a file that is named itself, only one to be read will do."""
    files = {file: parse_name(file.name) for file in tower_files(path, root)}
    if not has_magic(path) and all(file.path == root / path and not file.members for file in files):
        for name in files.values():
            if reason := _not_read(name, time_step):
                raise InputError(f"{path}: no flux file by its name ({reason}); allowed: for example {_EXAMPLE}")
    return files


def _not_read(name: ProductName | None, time_step: TimeStep) -> str:
    """Why a file is not read, or nothing."""
    if name is None or name.kind == "other":
        return "not a flux file by its name"
    if name.kind == "reanalysis":
        return "reanalysis file: holds no fluxes"
    if name.kind == "flux" and name.step not in _READ[time_step]:
        return f"resolution {name.step} is not read in a {time_step} study"
    return ""


def _one_per_release(files: list[NamedFile], time_step: TimeStep) -> tuple[list[NamedFile], list[tuple[str, str, str]]]:
    """The file to read of each site and release, and the others with the reason."""

    def release(one: NamedFile) -> tuple[str, str, tuple[int, int]]:
        return one.name.site, one.name.release, one.name.years or (0, 0)

    def preference(one: NamedFile) -> tuple[int, bool, bool, str]:
        return _READ[time_step].index(one.name.step), not one.name.full, bool(one.file.members), f"{one.file.path} {one.file.members}"

    best: dict[tuple[str, str, tuple[int, int]], NamedFile] = {}
    others: list[tuple[str, str, str]] = []
    for one in sorted(files, key=lambda one: (release(one), preference(one))):
        chosen = best.setdefault(release(one), one)
        if chosen is not one:
            others.append((one.file.label, one.name.site, _why_other(one.name, chosen.name)))
    return list(best.values()), others


def _why_other(other: ProductName, chosen: ProductName) -> str:
    if other.step != chosen.step:
        return f"resolution {chosen.step} of the same release is read"
    return "the FULLSET of the same release is read" if other.full != chosen.full else "the same file a second time"

"""Which of the files that paths hold are read: one record per site and release, in one file or in several files of years."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path

import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.towers.archives import TowerFile, tower_files
from dualflux.sources.towers.names import BASE, ProductName, parse_name
from dualflux.sources.towers.records import TimeStep
from dualflux.sources.towers.towers import SKIPPED_COLUMNS

_READ: dict[TimeStep, tuple[str, ...]] = {"monthly": ("MM", "DD", "HH", "HR"), "daily": ("DD", "HH", "HR")}
JOINED = " + "  # between the files of one record
_EXAMPLE = "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2000-2012_1-4.csv"


@dataclass(frozen=True)
class NamedFile:
    """A file and what its name says."""

    file: TowerFile
    name: ProductName


@dataclass(frozen=True)
class FluxRecord:
    """The files of one site and release that are read as one, in the order of their years.

    Attributes
    ----------
    files : tuple of TowerFile
    name : ProductName
        What all names say, `years` from the first to the last.
    """

    files: tuple[TowerFile, ...]
    name: ProductName

    @property
    def label(self) -> str:
        """For messages and tables."""
        return JOINED.join(file.label for file in self.files)


@dataclass(frozen=True)
class Found:
    """What a source's paths hold.

    Attributes
    ----------
    flux : list of FluxRecord
        One per site and release, sorted by site; further ones where files of a release hold the same years.
    site_facts : list of NamedFile
        BIF and SITEINFO files.
    skipped : DataFrame
        file, site, reason.
    """

    flux: list[FluxRecord]
    site_facts: list[NamedFile]
    skipped: pd.DataFrame


def find_flux_files(paths: str | Sequence[str], root: Path, time_step: TimeStep) -> Found:
    """The flux files of each site and release: the coarsest resolution that serves the study, the FULLSET before the SUBSET.

    Files of different years of one release are one record.

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
    return Found(_records(chosen), facts, pd.DataFrame([*skipped, *others], columns=SKIPPED_COLUMNS))


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
    if name.kind == "base":
        return BASE
    if name.kind == "reanalysis":
        return "reanalysis file: holds no fluxes"
    if name.kind == "flux" and name.step not in _READ[time_step]:
        return f"resolution {name.step} is not read in a {time_step} study"
    return ""


def _one_per_release(files: list[NamedFile], time_step: TimeStep) -> tuple[list[NamedFile], list[tuple[str, str, str]]]:
    """The file to read of each site, release and years, and the others with the reason."""

    def release(one: NamedFile) -> tuple[str, str, tuple[int, int]]:
        return one.name.site, one.name.release, one.name.years or (0, 0)

    def preference(one: NamedFile) -> tuple[int, bool, bool, str]:
        return _READ[time_step].index(one.name.step), not one.name.full, bool(one.file.members), f"{one.file.path} {one.file.members}"

    best: dict[tuple[str, str, tuple[int, int]], NamedFile] = {}
    others: list[tuple[str, str, str]] = []
    for one in sorted(files, key=lambda one: (release(one), preference(one))):
        chosen = best.setdefault(release(one), one)
        if chosen is not one:
            others.append((one.file.label, one.name.site, _why_other(one, chosen)))
    return list(best.values()), others


def _why_other(other: NamedFile, chosen: NamedFile) -> str:
    if other.name.step != chosen.name.step:
        return f"resolution {chosen.name.step} of the same release is read"
    if other.name.full != chosen.name.full:
        return "the FULLSET of the same release is read"
    if other.file.has_the_bytes_of(chosen.file):
        return "the same file a second time"
    return f"another file of the same release and years, with other content, is read ({chosen.file.path})"


def _records(files: list[NamedFile]) -> list[FluxRecord]:
    """Files of one site, release and resolution whose years do not meet, joined; the longest first where they do."""
    groups: dict[tuple[str, str, str], list[NamedFile]] = {}
    for one in files:
        groups.setdefault((one.name.site, one.name.release, one.name.step), []).append(one)
    records = []
    for group in groups.values():
        parts: list[list[NamedFile]] = []
        for one in sorted(group, key=_length, reverse=True):
            part = next((part for part in parts if not any(_meet(one.name, other.name) for other in part)), None)
            if part is None:
                parts.append([one])
            else:
                part.append(one)
        records += [_record(part) for part in parts]
    return sorted(records, key=lambda record: (record.name.site, record.name.release, record.name.years or (0, 0)))


def _length(one: NamedFile) -> int:
    return one.name.years[1] - one.name.years[0] if one.name.years else 10_000


def _meet(one: ProductName, other: ProductName) -> bool:
    """Whether two files may hold the same years; a name without years may hold any."""
    return one.years is None or other.years is None or (one.years[0] <= other.years[1] and other.years[0] <= one.years[1])


def _record(part: list[NamedFile]) -> FluxRecord:
    part = sorted(part, key=lambda one: one.name.years or (0, 0))
    first, last = part[0].name.years, part[-1].name.years
    years = None if first is None or last is None else (first[0], last[1])
    return FluxRecord(tuple(one.file for one in part), replace(part[0].name, years=years))

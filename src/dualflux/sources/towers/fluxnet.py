"""Towers from the files of FLUXNET, AmeriFlux, ICOS, TERN and other networks that publish ONEFlux products."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.towers.archives import TowerFile, tower_files
from dualflux.sources.towers.find import FluxRecord, Found, find_flux_files
from dualflux.sources.towers.flux_file import NoValuesError, read_flux_record
from dualflux.sources.towers.metadata import citation_of, read_sites
from dualflux.sources.towers.names import parse_name, refuse_unknown
from dualflux.sources.towers.records import Records, TimeStep
from dualflux.sources.towers.settings import FluxnetSource
from dualflux.sources.towers.towers import EXCLUDED, SKIPPED_COLUMNS

UNUSABLE_COLUMNS = ["source", "site", "release", "reason", "count"]
_WHOLE_NETWORK = "AA-"  # FLX_AA-Flx_BIF_ALL_20200501.csv


@dataclass(frozen=True)
class Read:
    """All files of a source, read.

    Attributes
    ----------
    records : list of Records
        One per site and release.
    skipped : DataFrame
        file, site, reason: files that were not read.
    unusable : DataFrame
        source, site, release, reason, count (rows): files without a usable value.
    """

    records: list[Records]
    skipped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SKIPPED_COLUMNS))
    unusable: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=UNUSABLE_COLUMNS))


def read_fluxnet(source: FluxnetSource, root: Path, time_step: TimeStep) -> Read:
    """Read and check all files of one source, one `Records` per site and release.

    Raises
    ------
    InputError
        No matching file, a site without coordinates, missing columns, text among numbers, a time twice, no usable value in any file;
        all at once.
    """
    problems = Problems()
    found, stated = Found([], [], pd.DataFrame()), list[TowerFile]()
    with problems.collect():
        found = find_flux_files(source.path, root, time_step)
    with problems.collect():
        stated = [] if source.sites is None else _about_sites(tower_files(source.sites, root))
    problems.raise_if_any()
    flux, excluded = _without(source.exclude, found)
    needed = {one.name.site for one in flux}
    beside = [one.file for one in found.site_facts if one.name.site in needed or one.name.site.startswith(_WHOLE_NETWORK)]
    facts = read_sites(stated, beside, needed)
    records, unusable, why_unusable = [], [], []
    for one in flux:
        site, name = one.name.site, one.name
        about = {str(key): value for key, value in facts.loc[site].items()}
        about["citation"] = citation_of(site, name.release, about.pop("citation"), about.pop("cited_release"))
        with problems.collect():
            try:
                records.append(read_flux_record(one, about, source))
            except NoValuesError as error:
                unusable.append((one.label, site, name.release, error.reason, error.rows))
                why_unusable += error.problems
    if not records:
        problems.found += why_unusable
    problems.raise_if_any()
    skipped = pd.concat([found.skipped, excluded], ignore_index=True)
    return Read(records, skipped, pd.DataFrame(unusable, columns=UNUSABLE_COLUMNS))


def _without(excluded: Sequence[str], found: Found) -> tuple[list[FluxRecord], pd.DataFrame]:
    """The records of sites that the study does not exclude, and the files of the others."""
    refuse_unknown(excluded, (one.name.site for one in found.flux), "towers")
    out = [(file.label, one.name.site, EXCLUDED) for one in found.flux if one.name.site in excluded for file in one.files]
    kept = [one for one in found.flux if one.name.site not in excluded]
    if not kept:
        raise InputError("towers: `exclude` leaves no site; remove the entry, or some of its sites")
    return kept, pd.DataFrame(out, columns=SKIPPED_COLUMNS)


def _about_sites(files: list[TowerFile]) -> list[TowerFile]:
    """Without what else an archive holds; a file named by the user is meant."""
    named = {file: parse_name(file.name) for file in files}
    return [file for file, name in named.items() if not file.members or (name is not None and name.kind == "site facts")]

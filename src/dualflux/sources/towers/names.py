"""What the name of a tower network's file says: site, release, resolution, kind."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from dualflux.errors import InputError, Problems

Kind = Literal["flux", "reanalysis", "site facts", "base", "other"]
BASE = (
    "AmeriFlux BASE: another product (half-hours as measured, not gap-filled, without the quality and uncertainty of ONEFlux); get the "
    "site's FLUXNET product: choose `AmeriFlux FLUXNET` at https://ameriflux.lbl.gov/data/download-data/"
)

_BASE_START = b"# Site:"
_SITE = re.compile(r"^[A-Z]{2}-[A-Za-z0-9]+$")
_YEARS = re.compile(r"^(\d{4})-(\d{4})$")
_STEPS = ("HH", "HR", "DD", "WW", "MM", "YY")
_SITE_FACTS = ("BIF", "FLUXNET-BIF", "SITEINFO")
_CONTENT = ("SUBSET", "FULLSET", "FLUXMET")  # parts of one release


@dataclass(frozen=True)
class ProductName:
    """A file name, understood.

    Attributes
    ----------
    site : str
        ``AA-Flx`` and the like in files about all sites of a network.
    kind : str
        `reanalysis` files (ERA5, ERA-Interim) hold downscaled weather since the 1980s and no fluxes; `site facts` are BIF and
        SITEINFO files; `base` is AmeriFlux BASE.
    step : str
        HH, HR, DD, WW, MM, YY, or nothing where the name does not say.
    release : str
        Network, product and version, for example ``FLX FLUXNET2015 1-4`` or ``AMF FLUXNET v1.3 r1``.
    years : (int, int) or None
        First and last year.
    version : tuple of int
        Numbers of the version, to be compared.
    full : bool
        Not a SUBSET, so with all uncertainty columns.
    """

    site: str
    kind: Kind
    step: str
    release: str
    years: tuple[int, int] | None
    version: tuple[int, ...]
    full: bool


def parse_name(name: str) -> ProductName | None:
    """Read a name such as ``FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2000-2012_1-4.csv``; None for a file of another sort.

    Examples
    --------
    >>> parse_name("AMF_US-Var_FLUXNET_FLUXMET_HH_2000-2023_v1.3_r1.csv").release
    'AMF FLUXNET v1.3 r1'
    >>> parse_name("sites.csv") is None
    True
    """
    stem, dot, suffix = name.rpartition(".")
    network, *tokens = stem.split("_")
    if not dot or suffix.lower() != "csv" or not re.fullmatch(r"[A-Z0-9]+", network) or not tokens or not _SITE.match(tokens[0]):
        return None
    site, *tokens = tokens
    step = next((token for token in tokens if token in _STEPS), "")
    years = next((m for m in map(_YEARS.match, tokens) if m), None)
    kept = [token for token in tokens if token not in (step, *_CONTENT) and not _YEARS.match(token)]
    after = tokens[tokens.index(step) + 1 :] if step else []
    version = [token for token in after if not _YEARS.match(token)]
    return ProductName(
        site,
        _kind(tokens, step),
        step,
        " ".join([network, *kept]),
        (int(years[1]), int(years[2])) if years else None,
        tuple(int(number) for number in re.findall(r"\d+", " ".join(version))),
        "SUBSET" not in tokens,
    )


def is_japanflux(release: str) -> bool:
    """Whether a file is JapanFlux's own product, whose daily quality column is no fraction of good half-hours."""
    return "japanflux" in release.lower()


def refuse_base(path: Path) -> None:
    """Raise InputError for a file of AmeriFlux BASE, whatever its name: it begins with ``# Site:``."""
    with path.open("rb") as file:
        if file.read(len(_BASE_START)) == _BASE_START:
            raise InputError(f"{path.name}: {BASE}")


def refuse_unknown(excluded: Sequence[str], there: Iterable[str], what: str) -> None:
    """Raise InputError where sites to exclude are not there; names that are near are listed."""
    known = {str(site) for site in there}
    any_case = {site.lower(): site for site in sorted(known)}
    problems = Problems()
    for site in excluded:
        if site not in known:
            near = [any_case[match] for match in get_close_matches(site.lower(), list(any_case), 5, 0.5)] or sorted(known)[:5]
            problems.add(f"{what}: exclude: no site {site}; near names: {', '.join(near)} ({len(known)} sites); correct or remove it")
    problems.raise_if_any()


def _kind(tokens: list[str], step: str) -> Kind:
    if any(token == "BASE" or token.startswith("BASE-") for token in tokens):
        return "base"
    if any(token in _SITE_FACTS for token in tokens):
        return "site facts"
    if any(token.startswith("ERA") for token in tokens):
        return "reanalysis"
    return "flux" if step and not any(token.startswith(("BIF", "AUX", "VARINFO")) for token in tokens) else "other"

"""What the name of a tower network's file says: site, release, resolution, kind."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["flux", "reanalysis", "site facts", "other"]

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
        SITEINFO files.
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


def _kind(tokens: list[str], step: str) -> Kind:
    if any(token in _SITE_FACTS for token in tokens):
        return "site facts"
    if any(token.startswith("ERA") for token in tokens):
        return "reanalysis"
    return "flux" if step and not any(token.startswith(("BIF", "AUX", "VARINFO")) for token in tokens) else "other"

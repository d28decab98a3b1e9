"""One offline HTML file from tables, texts and figures: nothing is fetched, text from files is escaped."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

import dualflux
from dualflux.errors import InputError
from dualflux.report.contents import Contents
from dualflux.report.tables import headline_table, identifiability_table, provenance_tables, study_tables, verdict_tables
from dualflux.report.text import methods

LARGEST = 15_000_000  # bytes of report.html
_ROOM_FOR_TEXT = 2_000_000


@dataclass(frozen=True)
class Picture:
    """A figure that lies in the run folder.

    Attributes
    ----------
    name, title, caption, alt : str
    path : Path
        The PNG file.
    region : str or None
        The region it can be picked by.
    """

    name: str
    title: str
    caption: str
    alt: str
    path: Path
    region: str | None = None


def render(
    contents: Contents, study: Mapping[str, Any], verdict: pd.DataFrame | None, notes: Sequence[str], pictures: Sequence[Picture]
) -> str:
    """The report as text.

    Raises
    ------
    InputError
        It would be larger than 15 MB even without figures.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("template.html").render(
        title=str(study.get("name", "dualflux study")),
        version=dualflux.__version__,
        period=[str(d) for d in study.get("period") or []],
        headline=headline_table(contents),
        verdicts=[] if verdict is None else verdict_tables(verdict, contents.judged),
        notes=list(notes),
        sections=_sections(pictures),
        beside={"Diagnostics": identifiability_table(contents)},
        images=_embedded(pictures),
        tables=study_tables(contents),
        methods=methods(study),
        provenance=contents.provenance,
        provenance_tables=provenance_tables(contents.provenance),
        variants=contents.variants,
    )
    size = len(html.encode())
    if size > LARGEST:
        raise InputError(
            f"report.html would have {size / 1e6:.0f} MB, at most {LARGEST / 1e6:.0f} are allowed: too many regions or inputs to list"
        )
    return html


def _embedded(pictures: Sequence[Picture]) -> dict[str, str]:
    """Figures as base64, the most important first, as far as they fit; the rest is only linked."""
    left, images = LARGEST - _ROOM_FOR_TEXT, {}
    for picture in pictures:
        text = base64.b64encode(picture.path.read_bytes()).decode()
        if len(text) <= left:
            images[picture.name] = text
            left -= len(text)
    return images


_SECTIONS = {
    "Regions and globe": ("main_cycles", "seasonal_cycle", "regional_means", "annual_anomalies", "left_out_years", "seasonal_cycles"),
    "Maps": ("mean_maps", "difference_maps", "spread_maps", "representativeness_maps", "r_maps", "rmse_maps"),
    "Towers": ("tower_map", "skill_by_scale", "observed_predicted", "skill_by_class", "site_scatter"),
    "Diagnostics": ("taylor", "reliability", "prior_predictive", "trade_off", "training_history"),
}


def _sections(pictures: Sequence[Picture]) -> list[tuple[str, list[Picture]]]:
    """Titles with their figures; a figure that no section lists would vanish, so it is an error."""
    listed = {name for names in _SECTIONS.values() for name in names}
    if lost := [p.name for p in pictures if p.region is None and p.name not in listed]:
        raise ValueError(f"no section of the report lists the figure {', '.join(lost)}; add it to _SECTIONS of report/document.py")
    found = [
        (title, [p for n in names for p in pictures if n == (p.name if p.region is None else "seasonal_cycle")])
        for title, names in _SECTIONS.items()
    ]
    return [(title, part) for title, part in found if part]

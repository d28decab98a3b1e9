"""Figures and one offline HTML file from what a run has written; nothing is computed anew but means and anomalies."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from dualflux.report import by_part, diagnostics, figures, maps, prior, towers, years
from dualflux.report.contents import Contents, read_contents
from dualflux.report.document import Picture, render
from dualflux.report.drawing import scored
from dualflux.report.notes import study_notes
from dualflux.report.style import RC
from dualflux.report.text import captions
from dualflux.report.verdict import default_verdict
from dualflux.run_folder.files import write_atomically

DOTS_PER_INCH = 150

__all__ = ["default_verdict", "read_contents", "study_notes", "write_report"]


def write_report(out: Path, study: Mapping[str, Any], verdict: pd.DataFrame | None = None, notes: Sequence[str] = ()) -> Path:
    """Write `figures/*.png` and `report.html` of a run.

    Parameters
    ----------
    out : Path
        Run folder with `tables/*.csv`, `provenance.json` and, where there are, `products/*/nee_monthly.nc` and
        `models/*/history.csv` (columns step, optionally member, and one per term).
    study : dict
        The resolved settings; they give title and methods.
    verdict : DataFrame, optional
        What stands below the short verdict (`default_verdict`): one row per quantity, columns as they shall be read. A column `goal`
        (`target`, `low`, `high`; not shown) marks the best and worst of the variants' columns; a cell that says better, worse, met or not
        met is coloured.
    notes : sequence of str
        Paragraphs below the verdict; plain text.

    Returns
    -------
    Path
        The HTML file: one file, below 15 MB, that opens without a network.

    Raises
    ------
    InputError
        What is missing in the run folder, all at once.
    """
    out = Path(out)
    contents = read_contents(out, study)
    with mpl.rc_context(RC):
        pictures = [_save(out, *item) for item in _pictures(contents)]
    path = out / "report.html"
    write_atomically(path, render(contents, study, verdict, notes, pictures))
    return path


def _pictures(contents: Contents) -> Iterator[tuple[Picture, Callable[[], Figure]]]:
    """What is drawn, the most important first, and how."""
    text = captions(contents)

    def picture(name: str, title: str) -> Picture:
        return Picture(name, title, text[name], f"{title}: the numbers are in the tables below.", Path(f"{name}.png"))

    yield picture("main_cycles", "Mean seasonal cycle, the main regions"), partial(figures.main_cycles, contents)
    yield picture("regional_means", "Mean annual flux of regions and globe"), partial(figures.regional_means, contents)
    yield from _maps(contents, picture)
    yield from _towers(contents, picture)
    yield picture("annual_anomalies", "Annual anomalies"), partial(figures.annual_anomalies, contents)
    if len(contents.left_out_years):
        yield picture("left_out_years", "Years left out, one by one"), partial(years.left_out_years, contents)
    yield picture("seasonal_cycles", "Mean seasonal cycles of all regions"), partial(figures.seasonal_cycles, contents)
    yield from _diagnostics(contents, picture)
    for region, slug in _slugs(contents.regions).items():
        title = f"Mean seasonal cycle: {region}"
        alt = f"{title}. Lines of all products over the twelve months."
        yield (
            Picture(f"seasonal_cycle_{slug}", title, text["seasonal_cycle"], alt, Path(f"seasonal_cycle_{slug}.png"), region),
            partial(figures.seasonal_cycle, contents, region),
        )


def _towers(contents: Contents, picture: Callable[[str, str], Picture]) -> Iterator[tuple[Picture, Callable[[], Figure]]]:
    if contents.sites.empty:
        return
    yield picture("skill_by_scale", "Skill at left-out towers by time scale"), partial(towers.skill_by_scale, contents)
    if len(contents.predictions):
        yield picture("observed_predicted", "Observed and predicted"), partial(towers.observed_predicted, contents)
    if len(contents.classes) and set(contents.classes["grouping"]) != {"all"}:
        yield picture("skill_by_class", "Skill by class of site"), partial(towers.skill_by_class, contents)
    if len(scored(contents)) > 1:
        yield picture("site_scatter", "Skill site by site"), partial(towers.site_scatter, contents)


def _diagnostics(contents: Contents, picture: Callable[[str, str], Picture]) -> Iterator[tuple[Picture, Callable[[], Figure]]]:
    if len(contents.taylor):
        yield picture("taylor", "Taylor diagrams"), partial(diagnostics.taylor, contents)
    if contents.variants and len(by_part.by_part(contents.summary)):
        yield picture("reliability", "Reliability by part"), partial(by_part.reliability, contents)
    if len(contents.priors):
        yield picture("prior_predictive", "What the priors say before the data"), partial(prior.prior_predictive, contents)
    if contents.misfit and len(contents.sites):
        yield picture("trade_off", "Trade-off between towers and inversions"), partial(diagnostics.trade_off, contents)
    if contents.history:
        yield picture("training_history", "Training history"), partial(diagnostics.training_history, contents)


def _maps(contents: Contents, picture: Callable[[str, str], Picture]) -> Iterator[tuple[Picture, Callable[[], Figure]]]:
    if contents.compared is not None:
        yield from _compared_maps(contents, contents.compared, picture)
    if not contents.products:
        return
    fields = {variant: maps.read_map(path) for variant, path in contents.products.items()}
    yield picture("mean_maps", "Mean net ecosystem exchange"), partial(maps.mean_maps, fields, contents)
    if len(fields) > 1:
        yield picture("difference_maps", "Differences between the variants"), partial(maps.difference_maps, fields)
    yield picture("spread_maps", "Spread"), partial(maps.spread_maps, fields)
    if any(field.representativeness is not None for field in fields.values()):
        yield picture("representativeness_maps", "Where towers differ from the landscape"), partial(maps.representativeness_maps, fields)
    best = scored(contents)[-1:]
    if len(contents.places) and best:
        background = fields.get(best[0], next(iter(fields.values())))
        yield picture("tower_map", "Towers and skill"), partial(maps.tower_map, background, contents, best[0])


def _compared_maps(
    contents: Contents, path: Path, picture: Callable[[str, str], Picture]
) -> Iterator[tuple[Picture, Callable[[], Figure]]]:
    """Maps of a comparison of products."""
    fields, agreement = maps.read_compared(path)
    yield picture("mean_maps", "Mean net ecosystem exchange"), partial(maps.mean_maps, fields, contents)
    if agreement:
        yield picture("r_maps", "Agreement in time"), partial(maps.agreement_maps, fields, agreement, contents.against, "r")
        yield picture("rmse_maps", "Size of the differences"), partial(maps.agreement_maps, fields, agreement, contents.against, "rmse")
    best = scored(contents)[-1:]
    if len(contents.places) and best:
        background = fields.get(best[0], next(iter(fields.values())))
        yield picture("tower_map", "Towers and skill"), partial(maps.tower_map, background, contents, best[0])


def _save(out: Path, picture: Picture, draw: Callable[[], Figure]) -> Picture:
    path = out / "figures" / picture.path
    path.parent.mkdir(parents=True, exist_ok=True)
    draw().savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.08)
    return Picture(picture.name, picture.title, picture.caption, picture.alt, path, picture.region)


def _slugs(regions: Sequence[str]) -> dict[str, str]:
    """A file name for each region, unique also where regions differ in odd characters only."""
    out: dict[str, str] = {}
    for region in regions:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", region)
        taken = {s.lower() for s in out.values()}
        out[region] = next(s for s in (plain, *(f"{plain}_{i}" for i in range(2, len(regions) + 2))) if s.lower() not in taken)
    return out

"""From the files of a study to checked arrays: land, predictors, towers and the inversions' target."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.cube import Cube, SeriesStandard, Steps
from dualflux.derived.memory import Memory, default_windows
from dualflux.errors import InputError, Problems, doubt, doubts
from dualflux.features import build_cube, require_finite_predictors, tower_rows
from dualflux.grid import Grid, LandCells
from dualflux.prepared import Prepared, read_table, save
from dualflux.sources.adjustments import Target, make_target, plausibility_line, read_adjustments, sanity_lines
from dualflux.sources.files.plausible import PLAUSIBLE_PRODUCT
from dualflux.sources.inversions import read_inversions
from dualflux.sources.land.read import Land, land_cells
from dualflux.sources.predictors.read import read_predictors
from dualflux.sources.predictors.series import SeriesRecord, read_series
from dualflux.sources.predictors.settings import Recipe, of_network
from dualflux.sources.references import TableReference, read_references, reference_maps
from dualflux.sources.towers import Towers, read_towers, site_table
from dualflux.stages.consistency import place_sites, site_classes, site_columns, with_site_meteorology
from dualflux.study.settings import Study, StudySettings
from dualflux.vegetation import Vegetation

SITE_COLUMNS = ["lat", "lon", "igbp", "cell", "group", "fold"]
DOUBTS = "doubts.csv"


def prepare(study: Study, folder: Path) -> None:
    """Read and check all sources and write them to `folder` as plain arrays and tables.

    What is taken although it is doubted stands in `doubts.csv`, see `read_doubts`.

    Raises
    ------
    InputError
        Every problem found in any source.
    """
    with doubts() as found:
        _prepare(study, folder)
    (folder / DOUBTS).unlink(missing_ok=True)
    if found:
        pd.DataFrame({"doubt": found}).to_csv(folder / DOUBTS, index=False)


def read_doubts(folder: Path) -> list[str]:
    """What `prepare` took although it was doubted, one sentence each."""
    return list(read_table(folder / DOUBTS)["doubt"]) if (folder / DOUBTS).is_file() else []


def _prepare(study: Study, folder: Path) -> None:
    s = study.settings
    grid = Grid.global_regular(s.grid.resolution)
    steps = Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)
    problems = Problems()
    land = towers = target = references = None
    with problems.collect():
        land = land_cells(grid, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)
    if s.towers:
        with problems.collect():
            towers = with_site_meteorology(s.predictors, read_towers(s.towers, study.root, s.fitted, s.time_step))
    if land is not None:
        if s.inversions:
            with problems.collect():
                target = read_target(study, land, steps)
        if s.references:
            with problems.collect():
                references = read_references(s.references, study.root, grid, land.regions, land.land_fraction, steps.months)
                _doubt_references(references)
    cube = None
    if land is not None:
        with problems.collect():
            land, cube, filled = read_cube(study, land, steps)
    problems.raise_if_any()
    if land is None or cube is None:
        raise InputError("prepare: a source could not be read")
    library = read_library(study, land, steps)
    require_finite_predictors(cube, land.cells.lat(), land.cells.lon())
    sites, observations, rows, shift = _at_towers(s, land, cube, towers)
    if cube.vegetation is not None:
        require_vegetation(land.cells, cube, rows, inversions=bool(s.inversions))
        land = replace(land, shares=land.shares.assign(without_vegetation_share=without_vegetation(land, cube)))
    prepared = Prepared(land.cells, land.land_area, cube, observations, sites, rows, target, references, library)
    save(prepared, folder)
    if towers is not None:
        save_tower_tables(towers, folder)
    shift.to_csv(folder / "site_minus_cell.csv", index=False)
    land.shares.to_csv(folder / "land_shares.csv")
    filled.to_csv(folder / "predictors_filled.csv", index=False)


def _doubt_references(references: xr.DataArray) -> None:
    annual = 12 * references.sel(region="global").mean("time")
    for name in references["product"].to_numpy():
        plausibility_line(str(name), float(annual.sel(product=name)), PLAUSIBLE_PRODUCT)


def save_tower_tables(towers: Towers, folder: Path) -> None:
    """Write what became of each tower file; of flags and files that are not read only where there are any."""
    site_table(towers).to_csv(folder / "tower_sites.csv", index=False, date_format="%Y-%m-%d")
    towers.dropped.to_csv(folder / "towers_dropped.csv", index=False)
    for name, table in (("tower_flags", towers.flags), ("tower_skipped", towers.skipped)):
        (folder / f"{name}.csv").unlink(missing_ok=True)
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d")


def tower_citations(folder: Path) -> list[str]:
    """What to cite for the towers in use, each once, from what `prepare` wrote."""
    if not (folder / "tower_sites.csv").is_file():
        return []
    sites = read_table(folder / "tower_sites.csv")
    return sorted(set(sites.loc[sites["use"] == "kept", "citation"].dropna()))


def read_target(study: Study, land: Land, steps: Steps) -> Target:
    """The inversions made like with like."""
    s = study.settings
    place = (study.root, land.cells.grid, land.regions, land.land_fraction, steps.months)
    problems = Problems()
    inversions = adjustments = None
    with problems.collect():
        inversions = read_inversions(s.inversions, *place)
    with problems.collect():
        adjustments = read_adjustments(s.adjustments, *place)
    problems.raise_if_any()
    if inversions is None or adjustments is None:
        raise InputError("inversions: a source could not be read")
    target = make_target(s.target, inversions, adjustments)
    sanity_lines(inversions, target)  # says what is doubted
    return target


def read_library(study: Study, land: Land, steps: Steps) -> np.ndarray:
    """Fields of the products in `inversion_term.library` on the land cells, see `Prepared.library`.

    Raises
    ------
    InputError
        See `reference_maps`; land without a value in a product whose rule is `error`.
    """
    names, grid = study.settings.inversion_term.library, land.cells.grid
    fields = np.full((len(names), len(steps.months), len(land.cells.index)), np.nan, np.float32)
    for name, field in zip(names, fields, strict=True):
        source = next(r for r in study.settings.references if not isinstance(r, TableReference) and r.product == name)
        for month in reference_maps(source, study.root, grid, land.land_fraction, steps.months):
            flux = month.flux.ravel()[land.cells.index]
            if source.missing == "error" and (empty := int(np.isnan(flux).sum())):
                raise InputError(
                    f"{name}: {empty} land cells without a value in {month.time:%Y-%m}; a field of `inversion_term.library` covers all "
                    "land; say `missing: zero` if the product means no flux there, or take it out of the library"
                )
            field[steps.months.get_loc(month.time)] = np.nan_to_num(flux)
    return fields


def read_cube(study: Study, land: Land, steps: Steps) -> tuple[Land, Cube, pd.DataFrame]:
    """Standardised predictors of all land cells; cells that rule `drop` removed carry no flux."""
    s = study.settings
    found = read_predictors(s.predictors, study.root, land.cells.grid, land.cells, steps.time, s.time_step)
    valid = found.valid.to_numpy()
    if not valid.all():
        cells = land.cells
        keep = np.zeros(cells.grid.lat.size * cells.grid.lon.size, dtype=bool)
        keep[cells.index[valid]] = True
        kept = LandCells.build(cells.grid, land.land_fraction, land.regions, keep=keep.reshape(cells.grid.shape))
        land, found = Land(kept, land.regions, land.land_fraction, land.land_area, land.shares), found.isel(cell=np.flatnonzero(valid))
    shares = ("filled_share", "dropped_share")
    filled = pd.DataFrame(
        [{"predictor": n, **{k: v.attrs.get(k, 0.0) for k in shares}} for n, v in found.data_vars.items() if n != "valid"]
    )
    predictors = of_network(s.predictors)
    derived, windows = [p.name for p in predictors if p.derived], _windows(s, found, steps)
    cube = build_cube(found, derived, land.cells.lat(), land.cells.land_area, steps, windows, Recipe.of(predictors, s.spin_up))
    if s.vegetation is not None:
        cube = replace(cube, vegetation=Vegetation.create(s.vegetation, cube.columns.static, cube.centre, cube.scale))
    return land, with_series(study, cube), filled


def require_vegetation(cells: LandCells, cube: Cube, rows: np.ndarray, inversions: bool) -> None:
    """Raise InputError where the vegetation scale leaves no flux that the data could tell of.

    Parameters
    ----------
    rows : array, (observation, column)
        Of the towers.
    inversions : bool
        Whether the study has any, which constrain its regions.
    """
    scale, problems, todo = cube.vegetated(), Problems(), "correct `bounds` or `bare` of `vegetation`"
    if not (scale > 0).any():
        raise InputError(f"vegetation: the scale is zero on all land, so there is no flux; {todo}")
    if len(rows) and not (cube.vegetated(rows) > 0).any():
        problems.add(f"vegetation: the scale is zero at every tower, so towers tell nothing of the flux; {todo}")
    bare = [name for name, area in zip(cells.region_names, cells.region_area @ scale, strict=True) if area == 0]
    if inversions and bare:
        problems.add(f"vegetation: the scale is zero on all land of {', '.join(bare)}, so no flux can follow its inversions; {todo}")
    problems.raise_if_any()


def without_vegetation(land: Land, cube: Cube) -> np.ndarray:
    """Share of each row of `Land.shares` that has no flux for want of vegetation: one minus the scale, over modelled land."""
    inside, bare = land.cells.region_fraction, land.cells.land_area * (1 - cube.vegetated())
    rows = np.vstack([inside, np.ones(inside.shape[1]), 1 - inside.sum(axis=0)])
    area = land.shares["land_area"].to_numpy()
    return np.divide(rows @ bare, area, out=np.zeros_like(area), where=area > 0)


def _windows(s: StudySettings, found: xr.Dataset, steps: Steps) -> dict[str, list[int]]:
    """Windows of running means of each dynamic predictor; those that are not made, for want of a record, are doubts."""
    if "time" not in found.dims:
        return {}
    memory = Memory(of_network(s.predictors), pd.Timestamp(found.time.to_numpy()[0]), steps, s.spin_up)
    if s.spin_up == "record":
        for line in memory.lines():
            doubt(line)
    return default_windows({p.name: p.running_means for p in s.predictors if p.kind == "dynamic"}, memory.before, steps, s.spin_up)


def with_series(study: Study, cube: Cube) -> Cube:
    """The cube with the study's predictors of time alone, standardised over the fitted period."""
    s, steps = study.settings, cube.steps
    found = read_series(s.predictors, study.root, steps.time, s.time_step)
    standard = series_standard(s, found, steps)
    return replace(cube, series=standard.standardised(found.values, steps), series_standard=standard)


def series_standard(settings: StudySettings, found: SeriesRecord, steps: Steps) -> SeriesStandard:
    """What standardises a study's series; InputError for those that do not vary between fitted years."""
    first, last = (pd.Timestamp(day) for day in settings.fitted)
    fitted = np.asarray((steps.time >= first) & (steps.time <= last))
    return SeriesStandard.create(found.names, found.values, steps, fitted)


def _at_towers(
    settings: StudySettings, land: Land, cube: Cube, towers: Towers | None
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Sites, observations, their predictors and what sites differ from their cells by; all empty without towers."""
    if towers is None:
        sites = pd.DataFrame(columns=SITE_COLUMNS, index=pd.Index([], name="site")).astype({n: int for n in ("cell", "group", "fold")})
        observations = pd.DataFrame(columns=["site", "time", "nee", "uncertainty"])
        return sites, observations, np.zeros((0, len(cube.columns.names)), np.float32), pd.DataFrame(columns=["site"])
    sites = place_sites(settings, land.cells, towers, cube=cube).drop(columns="distance")
    return sites, *_tower_predictors(settings, cube, towers, sites)


def _tower_predictors(
    settings: StudySettings, cube: Cube, towers: Towers, sites: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    data = towers.observations
    step = cube.steps.time.get_indexer(pd.DatetimeIndex(data.time))
    own = {name: data[column].to_numpy(float) for name, column in site_columns(settings.predictors).items()}
    known = sites.loc[data.site]
    cover = site_classes(settings.predictors)
    found = tower_rows(cube, step, known.cell.to_numpy(), data.site.to_numpy(), known.igbp.to_numpy(), cover, own)
    return data[["site", "time", "nee", "uncertainty"]], found.predictors, found.shift

"""Comparing flux products and inversions with each other and with towers, without training anything.

`dualflux compare COMPARISON.yaml`, where the file lists `products` instead of what a model needs, or `dualflux compare NAME=FILE ...`,
which takes land, regions, inversions and towers from a study.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dualflux.constraints.towers.folds import site_groups
from dualflux.errors import InputError, Problems
from dualflux.evaluation.regional import series_rows, target_mean
from dualflux.grid import Grid, LandCells, Regions
from dualflux.metrics import regional_summary, site_metrics, taylor_table
from dualflux.metrics.budget import TERM_COLUMNS, BudgetSettings, annual_adjustments, budget_summary, read_budgets
from dualflux.metrics.cells import CellTally, Step, together
from dualflux.metrics.sites import COLUMNS as SITE_COLUMNS
from dualflux.metrics.statistics import bias, correlation, rmse
from dualflux.report import write_report
from dualflux.run_folder.hdf5_output import write_netcdf
from dualflux.run_folder.own_files import refuse_foreign, refuse_own
from dualflux.run_folder.pulse import Manner
from dualflux.run_folder.run_folder import RunFolder, Stage
from dualflux.sources.adjustments import AdjustmentSettings, TargetKind, check_target, make_target, read_adjustments
from dualflux.sources.files.gridded import open_gridded
from dualflux.sources.files.regional_table import load_table
from dualflux.sources.files.tables import find_files
from dualflux.sources.inversions import InversionSource, read_inversions
from dualflux.sources.land.read import LandFractionSettings, check_outside, read_land
from dualflux.sources.land.region_masks import RegionSettings
from dualflux.sources.land.vector_files import side_files
from dualflux.sources.references import ReferenceSource, TableReference, read_references, reference_maps, reference_steps
from dualflux.sources.towers import TowerSource, read_towers
from dualflux.sources.towers.cells import tower_cells
from dualflux.stages.report import FIGURES, FIGURES_OF_SOME
from dualflux.study.settings import GridSettings, Study, data_root_of, whole_months
from dualflux.study.settings_errors import explain
from dualflux.study.yaml_reader import read_yaml

MAPS = "maps.nc"
_CITATIONS = ("Cite every product, inversion and tower compared as its authors ask.",)


class ComparisonSettings(BaseModel):
    """Everything a comparison file can say; keys mean what they mean in a study file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="names the run folder")
    period: tuple[date, date] = Field(description="first and last day, both included; whole months")
    time_step: Literal["monthly", "daily"] = Field(
        "monthly", description="at which cells and towers are compared; daily needs daily products"
    )
    grid: GridSettings = GridSettings()
    data_root: str = Field(".", description="folder the paths below start from, relative to this file")
    land_fraction: LandFractionSettings
    regions: RegionSettings
    products: list[ReferenceSource] = Field(min_length=1, description="as `references` of a study")
    inversions: list[InversionSource] = []
    target: TargetKind = Field("nbe", description="what the inversions are made comparable with")
    adjustments: list[AdjustmentSettings] = []
    towers: list[TowerSource] = []
    against: str | None = Field(
        None, description="product all others are compared with; default: mean of the inversions, or the first product"
    )
    independent: list[BudgetSettings] = []
    figure_regions: list[str] = Field(["global"], min_length=1, description="panels of the seasonal-cycle figure")

    @model_validator(mode="after")
    def _enough(self) -> "ComparisonSettings":
        whole_months(self.period)
        if len(self.products) + len(self.inversions) < 2 and not self.towers:
            raise ValueError("one product alone is no comparison; add a product, an inversion or towers")
        return self


@dataclass(frozen=True)
class Comparison:
    """A comparison file that was read and found right; see `study.Study`."""

    settings: ComparisonSettings
    file: Path
    root: Path
    out: Path

    def resolved(self) -> dict[str, Any]:
        """All settings, defaults written out, the data root absolute."""
        return {**self.settings.model_dump(mode="json"), "data_root": str(self.root)}


@dataclass(frozen=True, eq=False)
class _World:
    """What all products are brought to."""

    grid: Grid
    regions: Regions
    land_fraction: np.ndarray
    months: pd.DatetimeIndex


def is_comparison(path: Path) -> bool:
    """True for a file with the key `products`, which no study has."""
    return path.is_file() and "products" in read_yaml(path.absolute())[0]


def load_comparison(path: Path, data_root: Path | None = None, out: Path | None = None) -> Comparison:
    """Read a comparison file.

    Raises
    ------
    InputError
        Every problem of the file.
    """
    file = Path(path).absolute()
    values, lines = read_yaml(file)
    try:
        settings = ComparisonSettings.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, ComparisonSettings, values, lines, file.name)) from error
    problems = Problems()
    with problems.collect():
        check_target(settings.target, settings.inversions, settings.adjustments)
    root = data_root_of(settings.data_root, file, data_root)
    if not root.is_dir():
        problems.add(f"{file.name}: data root {root} is no folder; set `data_root` or --data-root")
    problems.raise_if_any()
    return Comparison(settings, file, root, Path(out).absolute() if out is not None else file.parent / "runs" / settings.name)


# What a comparison takes from a study; the rest of a study is about the model.
_OF_A_STUDY = (
    "period",
    "grid",
    "land_fraction",
    "regions",
    "inversions",
    "target",
    "adjustments",
    "towers",
    "independent",
    "figure_regions",
)


def comparison_of(products: dict[str, Path], study: Study, out: Path, against: str | None = None) -> Comparison:
    """Compare monthly products by their free names, with the land, regions, inversions and towers of a study.

    Parameters
    ----------
    products : dict of str to Path
        NetCDF files and Zarr stores with a variable `nee` (or `NEE`) in a unit that they state, and tables of regional integrals (.csv).
    study : Study
    out : Path
    against : str, optional
        What all others are compared with; default: the inversions' mean, without any the first product.

    Raises
    ------
    InputError
        A product that cannot be read so; too few of them.
    """
    problems, sources = Problems(), list[dict[str, Any]]()
    for name, path in products.items():
        with problems.collect():
            sources.append(_source(name, path.absolute()))
    problems.raise_if_any()
    shared = {key: getattr(study.settings, key) for key in _OF_A_STUDY}
    values = {**shared, "name": out.name, "data_root": str(study.root), "products": sources, "against": against}
    try:
        settings = ComparisonSettings.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, ComparisonSettings, values, {}, "compare")) from error
    return Comparison(settings, study.file, study.root, out.absolute())


def _source(name: str, path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".csv":
        _refuse_several_products(name, path)
        return {"format": "table", "product": name, "path": str(path)}
    with open_gridded(path) as data:
        known = [variable for variable in ("nee", "NEE") if variable in data]
        if not known:
            raise InputError(
                f"{name}: {path} has no variable `nee`, it has {', '.join(sorted(map(str, data.data_vars)))}; say which one is meant in a "
                "file with `products`, see docs/evaluation.md, and give that to `dualflux compare`"
            )
    return {"format": "gridded", "product": name, "path": str(path), "variable": known[0]}


def _refuse_several_products(name: str, path: Path) -> None:
    table = load_table(path, ["region", "time", "value"])
    inside = list(dict.fromkeys(map(str, table["product"]))) if "product" in table else []
    if len(inside) > 1:
        raise InputError(
            f"{name}: {path} has the products {', '.join(inside[:12])}; give a table of one, or list this one under `products` of a file "
            "for `dualflux compare`, see docs/evaluation.md"
        )


def run_comparison(comparison: Comparison, manner: Manner | None = None) -> None:
    """Compare, and write tables, maps, figures and the report; what is done and has not changed is kept."""
    plan, text = stage_plan(comparison), yaml.safe_dump(comparison.resolved(), sort_keys=False, allow_unicode=True)
    actions = {"evaluate": evaluate, "report": report}
    problems = Problems()
    with problems.collect():
        refuse_own(comparison.out, "study.yaml", text, comparison.file)
    with problems.collect():
        refuse_foreign(comparison.out, plan)
    problems.raise_if_any()
    with RunFolder(comparison.out, 0, _CITATIONS, manner=manner) as folder:
        folder.write("study.yaml", text)
        for stage in plan:
            act = actions[stage.name]
            folder.stage(stage, lambda place, act=act: act(replace(comparison, out=place)))  # type: ignore[misc]
    if manner is None or not manner.quiet:
        print(f"report: {comparison.out / 'report.html'}")


def stage_plan(comparison: Comparison) -> list[Stage]:
    """What the two stages of a comparison depend on and write."""
    tables = [f"tables/{name}.csv" for name in ("regional_monthly", "site_metrics", "summary", "taylor", "independent", "budget_terms")]
    settings = comparison.settings.model_dump(mode="json")
    module = ("stages.compare_products",)
    return [
        Stage("evaluate", settings, _inputs(comparison), [*tables, "comparison.json"], [MAPS, "prepared/sites.csv"], modules=module),
        Stage(
            "report", settings, (), ["report.html", "figures/main_cycles.png"], [f"figures/{n}.png" for n in (*FIGURES, *FIGURES_OF_SOME)],
            ["evaluate"], module,
        ),
    ]  # fmt: skip


def _inputs(comparison: Comparison) -> list[Path]:
    """Every file that is read."""
    s, problems, found = comparison.settings, Problems(), list[Path]()
    patterns = [(p, ".csv" if isinstance(x, TableReference) else ".nc") for x in s.products for p in _many(x.path)]
    patterns += [(p, ".csv") for x in s.towers for p in _many(x.path)]
    others = (s.land_fraction, s.regions, *s.inversions, *s.adjustments, *s.independent)
    patterns += [(str(x.path), ".nc") for x in others if getattr(x, "path", None) is not None]  # type: ignore[union-attr]
    for path, suffix in patterns:
        with problems.collect():
            found += [comparison.root / path] if path.endswith(".zarr") else find_files(path, comparison.root, suffix)
    found += [part for path in found for part in side_files(path)]
    problems.raise_if_any()
    return list(dict.fromkeys(found))


def _many(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else path


def evaluate(comparison: Comparison) -> None:
    """Integrate, score and write the tables and, of gridded products, `maps.nc`."""
    s, root = comparison.settings, comparison.root
    world = _world(comparison)
    problems, parts, adjustments = Problems(), list[pd.DataFrame](), pd.DataFrame(index=world.months.year.unique())
    with problems.collect():
        place = (root, world.grid, world.regions, world.land_fraction, world.months)
        parts.append(series_rows(read_references(s.products, *place)))
        products = [str(p) for p in dict.fromkeys(parts[-1]["product"])]
    with problems.collect():
        if s.inversions:
            terms = read_adjustments(s.adjustments, *place)
            target = make_target(s.target, read_inversions(s.inversions, *place), terms).integral
            _refuse_names_of_inversions(parts, target)
            parts += [series_rows(target), target_mean(target)]
            adjustments = annual_adjustments({t.name: t.integral.sel(region="global").to_numpy() for t in terms}, world.months)
    problems.raise_if_any()
    regional = pd.concat(parts, ignore_index=True).dropna(subset="value").assign(member="", unit="PgC month-1")
    regional = regional.reindex(columns=["product", "member", "region", "time", "value", "std", "unit"])
    against = _against(s, list(dict.fromkeys(regional["product"])))
    budgets = read_budgets(s.independent, root, adjustments)
    scored = regional_summary(regional, against, others=[p for p in dict.fromkeys(regional["product"]) if p != against])
    predictions = _stream(comparison, world, against)
    annual = [b.annual.rename_axis("year").reset_index().assign(product=b.name, region="global", unit="PgC yr-1") for b in budgets]
    sites = pd.DataFrame(columns=SITE_COLUMNS) if predictions.empty else site_metrics(predictions, s.time_step)
    tables = {
        "regional_monthly": regional,
        "summary": pd.concat([scored, budget_summary(budgets, regional)], ignore_index=True),
        "site_metrics": sites,
        "taylor": taylor_table(predictions, regional, s.time_step, against),
        "independent": pd.concat([pd.DataFrame(columns=["product", "region", "year", "value", "unit"]), *annual]),
        "budget_terms": pd.concat([pd.DataFrame(columns=TERM_COLUMNS), *(b.terms for b in budgets)]),
    }
    folder = comparison.out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d")
    (comparison.out / "comparison.json").write_text(json.dumps({"against": against, "products": products}, indent=1))


def _refuse_names_of_inversions(products: list[pd.DataFrame], target: xr.DataArray) -> None:
    shared = {str(p) for p in target["product"].to_numpy()} & {str(p) for part in products for p in part["product"]}
    if shared:
        raise InputError(f"{', '.join(sorted(shared))}: a product and an inversion have this name; give the product another one")


def _world(comparison: Comparison) -> _World:
    s = comparison.settings
    grid = Grid.global_regular(s.grid.resolution)
    land, regions = read_land(s.land_fraction, s.regions, comparison.root, grid)
    check_outside(grid, land, regions, s.land_fraction.outside_regions)
    return _World(grid, regions, land, pd.date_range(s.period[0], s.period[1], freq="MS"))


def _against(settings: ComparisonSettings, known: list[str]) -> str:
    wanted = settings.against or ("target" if settings.inversions else known[0])
    if wanted not in known:
        raise InputError(f"against: no product `{wanted}`; allowed: {', '.join(known)}")
    return wanted


def _stream(comparison: Comparison, world: _World, against: str) -> pd.DataFrame:
    """One pass over each gridded product: `maps.nc`, and its values where towers have some."""
    s = comparison.settings
    gridded = {source.product: source for source in s.products if not isinstance(source, TableReference)}
    towers, tables, tallies = _Towers.read(comparison, world), list[pd.DataFrame](), dict[str, CellTally]()
    for name, source in gridded.items():
        reference = _steps(comparison, world, gridded[against]) if against in gridded and against != name else iter(())
        tally, at_towers = CellTally(world.grid.shape), list[tuple[pd.Timestamp, np.ndarray]]()
        for step, other in together(_steps(comparison, world, source), reference, name):
            tally.add(step.flux, other, 1.0 if s.time_step == "daily" else float(step.time.days_in_month))
            if towers is not None:
                at_towers.append((step.time, step.flux.ravel()[towers.cell]))
        tally.close()
        tallies[name] = tally
        if towers is not None:
            tables.append(towers.predictions(name, at_towers))
    if tallies:
        _write_maps(comparison.out / MAPS, world, tallies, against)
    columns = ["product", "site", "group", "time", "observed", "landscape", "tower_like", "site_effect"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _steps(comparison: Comparison, world: _World, source: Any) -> Iterator[Step]:
    read = reference_steps if comparison.settings.time_step == "daily" else reference_maps
    fine = False
    for found in read(source, comparison.root, world.grid, world.land_fraction, world.months):
        fine = fine or found.time.day > 1
        if comparison.settings.time_step == "daily" and not fine and found.time.day == 1 and found.time != world.months[0]:
            raise InputError(f"{source.product}: it has no daily values; say `time_step: monthly`, or give a product with one per day")
        yield Step(found.time, np.where(world.land_fraction > 0, found.flux, np.nan))


@dataclass(frozen=True, eq=False)
class _Towers:
    """Observations (site, time, nee) and the flat grid cell and group of each site."""

    observations: pd.DataFrame
    names: list[str]
    cell: np.ndarray
    group: np.ndarray

    @classmethod
    def read(cls, comparison: Comparison, world: _World) -> "_Towers | None":
        s = comparison.settings
        if not s.towers:
            return None
        towers = read_towers(s.towers, comparison.root, s.period, s.time_step)
        cells = LandCells.build(world.grid, world.land_fraction, world.regions)
        places = tower_cells(cells, towers.sites, s.land_fraction.towers_at_sea)
        flat = cells.index[places["cell"].to_numpy()]
        group = site_groups(towers.sites["lat"].to_numpy(), towers.sites["lon"].to_numpy(), s.grid.resolution)
        (comparison.out / "prepared").mkdir(parents=True, exist_ok=True)
        towers.sites.to_csv(comparison.out / "prepared/sites.csv")
        return cls(towers.observations, [str(n) for n in towers.sites.index], flat, group)

    def predictions(self, product: str, at_towers: list[tuple[pd.Timestamp, np.ndarray]]) -> pd.DataFrame:
        """Rows where both the tower and the product have a value."""
        time = pd.DatetimeIndex([t for t, _ in at_towers], name="time")
        wide = pd.DataFrame(np.array([v for _, v in at_towers]).reshape(len(time), -1), time, pd.Index(self.names, name="site"))
        flux = wide.melt(ignore_index=False, var_name="site", value_name="landscape").dropna().reset_index()
        rows = self.observations.rename(columns={"nee": "observed"}).merge(flux, on=["site", "time"])
        group = pd.Series(self.group, self.names).reindex(rows["site"]).to_numpy()
        return rows.assign(product=product, group=group, tower_like=rows["landscape"], site_effect=np.nan)


def _write_maps(path: Path, world: _World, tallies: dict[str, CellTally], against: str) -> None:
    """Mean NEE of each product and its agreement with the reference, (product, lat, lon)."""
    unit = {"units": "gC m-2 d-1"}
    fields = {
        "nee": (
            np.stack([t.mean() for t in tallies.values()]),
            {**unit, "long_name": "mean net ecosystem exchange, positive to the atmosphere"},
        ),
        "bias": (np.stack([bias(t.pairs) for t in tallies.values()]), {**unit, "long_name": f"mean of product - {against}"}),
        "rmse": (np.stack([rmse(t.pairs) for t in tallies.values()]), {**unit, "long_name": f"root mean square of product - {against}"}),
        "r": (
            np.stack([correlation(t.pairs) for t in tallies.values()]),
            {"units": "1", "long_name": f"correlation in time with {against}"},
        ),
        "count": (np.stack([t.pairs.count for t in tallies.values()]), {"units": "1", "long_name": f"time steps in common with {against}"}),
    }
    data = xr.Dataset(
        {name: (("product", "lat", "lon"), values.astype(np.float32), attrs) for name, (values, attrs) in fields.items()},
        {"product": np.array(list(tallies), dtype=object), "lat": world.grid.lat, "lon": world.grid.lon},
        {"Conventions": "CF-1.10", "title": f"products compared with {against}"},
    )
    data["land_area"] = (("lat", "lon"), world.grid.cell_area * world.land_fraction, {"units": "m2"})
    data["lat"].attrs = {"units": "degrees_north", "standard_name": "latitude"}
    data["lon"].attrs = {"units": "degrees_east", "standard_name": "longitude"}
    write_netcdf(data, path, {name: {"zlib": True, "complevel": 1} for name in fields})


def report(comparison: Comparison) -> None:
    """Draw the figures and write report.html."""
    found = json.loads((comparison.out / "comparison.json").read_text(encoding="utf-8"))
    references = [{"product": name} for name in found["products"]]
    write_report(comparison.out, {**comparison.resolved(), "references": references, "against": found["against"]})

"""Sections of a check about inversions, adjustments, products to compare with and independent budgets."""

import numpy as np
import pandas as pd

from dualflux.checking.constraints import check_constraints
from dualflux.checking.report import CheckReport, some
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.cube import Steps
from dualflux.errors import InputError, Problems
from dualflux.metrics.budget import read_budgets
from dualflux.sources.adjustments import make_target, plausibility_line, read_adjustments, sanity_lines
from dualflux.sources.files.gridded import find_variable, open_gridded, time_axis
from dualflux.sources.files.plausible import PLAUSIBLE_PRODUCT
from dualflux.sources.files.regional_table import say_months
from dualflux.sources.files.tables import find_files
from dualflux.sources.inversions import Inversions, read_inversions
from dualflux.sources.land.read import Land
from dualflux.sources.references import ReferenceSource, TableReference, read_references
from dualflux.study.settings import Study

_SCANNED_MONTHS = 12  # of a gridded product to compare with


def check_inversions(study: Study, land: Land, report: CheckReport) -> tuple[Inversions | None, RegionalConstraint | None]:
    """Read inversions and adjustments as a run does, and make the target and the constraint; None where one cannot be read or made.

    Raises
    ------
    InputError
        Every problem of any of them.
    """
    s, problems = study.settings, Problems()
    steps = Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)
    place = (study.root, land.cells.grid, land.regions, land.land_fraction, steps.months)
    inversions = adjustments = regional = None
    with problems.collect():
        inversions = read_inversions(s.inversions, *place)
        report.add("Inversions [PgC yr-1, positive to the atmosphere]", inversions.notes)
    with problems.collect():
        adjustments = read_adjustments(s.adjustments, *place)
    if inversions is not None and adjustments is not None:
        with problems.collect():
            target = make_target(s.target, inversions, adjustments)
            report.add(f"Target {s.target}: {target.name}", target.terms)
            plausible = sanity_lines(inversions, target)
            report.add("Are signs and units plausible?", plausible)
            report.say(f"target {s.target}", f"{_outside(plausible)}; {plausible[-1].removeprefix('target ')}")
            regional = check_constraints(s, target, land.cells, steps)
    report.problems += problems.found
    return inversions, regional


def _outside(plausible: list[str]) -> str:
    """How many of the lines say that a number is outside its range."""
    outside = sum("OUTSIDE" in line for line in plausible)
    return f"{outside} of {len(plausible)} signs or sums are OUTSIDE of what is plausible" if outside else "signs and sums are plausible"


def check_independent(study: Study, inversions: Inversions | None, report: CheckReport) -> None:
    """Put each independent budget, as net biosphere exchange, beside the inversions of the same years.

    Raises
    ------
    InputError
        See `read_budgets`.
    """
    s = study.settings
    years = pd.RangeIndex(s.period[0].year, s.period[1].year + 1)
    lines = []
    for budget in read_budgets(s.independent, study.root, pd.DataFrame(index=years)):
        annual = budget.annual
        seen = pd.Series(dtype=float) if inversions is None else _mean_of_products(inversions).reindex(annual.index).dropna()
        annual = annual[seen.index] if len(seen) else annual
        line = f"{budget.name} {annual.index.min()}-{annual.index.max()}: {annual.mean():.2f} PgC/yr"
        if len(seen):
            line += f", mean of the inversions {seen.mean():.2f}, difference {seen.mean() - annual.mean():+.2f}"
        lines.append(line)
    if lines:
        report.say("independent budgets", some(lines, most=1))
    report.add("Independent budgets as net biosphere exchange, like the inversions", lines)


def _mean_of_products(inversions: Inversions) -> pd.Series:
    """Global annual sum [PgC yr-1] of the mean of the products that include fire, by complete year."""
    notes = inversions.notes
    names = notes.loc[notes["includes_fire"].astype(bool), "product"].tolist()
    flux = inversions.integral.sel(region="global", product=names).mean("product")
    monthly = pd.Series(flux.to_numpy(), pd.DatetimeIndex(flux["time"].to_numpy()))
    return monthly.groupby(pd.DatetimeIndex(monthly.index).year).sum(min_count=12).dropna()


def check_references(study: Study, land: Land | None, report: CheckReport, fitted: np.ndarray | None = None) -> None:
    """Read the dates of each product to compare with, and the fields of one year.

    Parameters
    ----------
    fitted : array of int, (year,), optional
        Years that the inversions constrain: a product of `inversion_term.library` covers them all.

    Raises
    ------
    InputError
        Every problem of any of them.
    """
    problems, rows, lines = Problems(), [], list[str]()
    for source in study.settings.references:
        with problems.collect():
            months = _months_of(study, source)
            if fitted is not None and not isinstance(source, TableReference) and source.product in study.settings.inversion_term.library:
                _require_fitted(source.product, months, fitted)
            if land is not None:
                found, said = _scan(study, land, source, months)
                rows += found
                lines += said
    if rows:
        report.say("products to compare with", f"{len(rows)}: {some([str(row['product']) for row in rows])}; {_outside(lines)}")
    report.add("Products to compare with", pd.DataFrame(rows))
    report.add("Are their signs and units plausible?", lines)
    problems.raise_if_any()


def _require_fitted(name: str, months: pd.DatetimeIndex, years: np.ndarray) -> None:
    wanted = pd.date_range(f"{years[0]}-01-01", f"{years[-1]}-12-31", freq="MS")
    wanted = wanted[np.isin(wanted.year, years)]
    if len(absent := wanted[~wanted.isin(months)]):
        raise InputError(
            f"inversion_term.library: a product covers every fitted month; {name} lacks {say_months(absent)}; give the other files, "
            "narrow `fit_period`, or take the product out of the library"
        )


def _months_of(study: Study, source: ReferenceSource) -> pd.DatetimeIndex:
    """All months of a gridded product, from its files' time axes; those of the study for a table."""
    paths = find_files(source.path, study.root, source.suffix)
    if isinstance(source, TableReference):
        return pd.date_range(*study.settings.period, freq="MS")
    found: list[np.ndarray] = []
    for path in paths:
        with open_gridded(path) as data:
            found.append(time_axis(find_variable(data, source.variable, path), path)[1].to_numpy())
    return pd.DatetimeIndex(np.unique(np.concatenate(found)))


def _scan(study: Study, land: Land, source: ReferenceSource, months: pd.DatetimeIndex) -> tuple[list[dict[str, object]], list[str]]:
    """Row and plausibility line of each product of a source, from its first year in the study."""
    wanted = pd.date_range(*study.settings.period, freq="MS")
    common = wanted[wanted.isin(months)]
    some = common if isinstance(source, TableReference) else common[:_SCANNED_MONTHS]
    read = read_references([source], study.root, land.cells.grid, land.regions, land.land_fraction, some if len(some) else wanted)
    rows, lines = [], []
    for name in read["product"].to_numpy():
        flux = read.sel(product=name, region="global")
        known = pd.DatetimeIndex(flux["time"].to_numpy()[flux.notnull().to_numpy()])
        used = known if isinstance(source, TableReference) else common
        annual = 12 * float(flux.mean())
        missing = float(read["missing_share"].sel(product=name, region="global"))
        rows.append({"product": name, "first": used[0], "last": used[-1], "months": len(used), "land_without_value": missing})
        lines.append(plausibility_line(f"{name} {known[0]:%Y-%m} to {known[-1]:%Y-%m}", annual, PLAUSIBLE_PRODUCT))
    return rows, lines


def check_truth(study: Study) -> None:
    """Raise InputError where the folder of a synthetic world's truth is not there."""
    truth, both = study.settings.truth, study.settings.towers and study.settings.inversions
    if truth is not None and both and not (study.root / truth).is_dir():
        raise InputError(f"truth: {study.root / truth} is no such folder; only synthetic worlds have one, remove the key")

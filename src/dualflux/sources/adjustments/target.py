"""Like with like: what of an inversion's flux may be compared with the model's (`tower_nee`, `stock_change`, `nbe`).

Inversions give the net biosphere exchange (NBE). Towers see neither fire nor the return of exported
carbon, but they do see the uptake that made it:

    tower_nee    = NBE - fire - emissions (crop, biofuel and wood consumption, river and lake evasion)
    stock_change = NBE - lateral emissions - lateral sinks   (fire is a loss of stock: it stays)

with every term positive to the atmosphere, so that sinks are negative.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.sources.adjustments.settings import SINKS, AdjustmentSettings, Emission, term_of
from dualflux.sources.adjustments.terms import Adjustment
from dualflux.sources.files.regional_table import say_months
from dualflux.sources.inversions import UNIT, Fire, Inversions, InversionSource, contents, river_adjusted

TargetKind = Literal["tower_nee", "stock_change", "nbe"]
LATERAL_EMISSIONS: tuple[str, ...] = tuple(e for e in get_args(Emission) if e not in ("fire", "lateral_emissions"))
LATERAL_SINKS = ("crop_harvest_uptake", "biofuel_harvest_uptake", "wood_harvest_uptake", "river_uptake")
CONTAINS: dict[str, tuple[str, ...]] = {"lateral_emissions": LATERAL_EMISSIONS, "river_adjustment_land": ("river_uptake", "river_evasion")}
RIVER_ADJUSTED = "river_adjustment_land"
SUBTRACTED, ADDED = "subtracted", "added where the product lacks it"
OWN_SUBTRACTED, UNUSED = "each product's own, subtracted", "not used, products bring their own"


@dataclass(frozen=True, eq=False)
class Target:
    """What the model's regional integrals are compared with.

    Attributes
    ----------
    name : str
        The terms, for example ``"NBE - fire"``.
    kind : {"tower_nee", "stock_change", "nbe"}
    integral : DataArray, (product, region, time)
        PgC month-1; attribute `missing_terms` names what is not accounted for.
    adjustment_variance : DataArray, (region, time)
        Variance [(PgC month-1)^2] that the terms add to the ensemble mean, errors of different terms
        independent.
    terms : DataFrame
        term, status, coefficient (mean over products), mean_annual_global [PgC yr-1], source.
    """

    name: str
    kind: TargetKind
    integral: xr.DataArray
    adjustment_variance: xr.DataArray
    terms: pd.DataFrame


def check_target(kind: TargetKind, sources: Sequence[InversionSource], settings: Sequence[AdjustmentSettings]) -> None:
    """Refuse wrong combinations from the settings alone, before any file is read.

    Raises
    ------
    InputError
        As `make_target`.
    """
    fire = {_label(s): contents(s).fire for s in sources}
    _check(kind, [term_of(s) for s in settings], fire, [_label(s) for s in sources if river_adjusted(s)])


def _label(source: InversionSource) -> str:
    path = source.path if isinstance(source.path, str) else ", ".join(source.path)
    return path if source.products is None else f"{path} ({', '.join(source.products)})"


def make_target(kind: TargetKind, inversions: Inversions, adjustments: Sequence[Adjustment]) -> Target:
    """Adjust every product to the quantity the model predicts.

    Parameters
    ----------
    kind : {"tower_nee", "stock_change", "nbe"}
    inversions : Inversions
    adjustments : sequence of Adjustment

    Raises
    ------
    InputError
        A sink or a river-adjusted product for a flux to the atmosphere, fire for a target it belongs to,
        a term given twice, products with and without fire mixed, or a term without a value where a
        product has one.
    """
    notes = inversions.notes
    names = [a.name for a in adjustments]
    fire = _fire_of(inversions)
    rivers = [str(p) for p in notes.loc[notes["river_adjusted"].astype(bool), "product"]]
    _check(kind, names, fire, rivers)
    integral, variance = inversions.integral, xr.zeros_like(inversions.integral.isel(product=0, drop=True))
    problems = Problems()
    rows = [_row("NBE", "base", 1.0, float(notes["mean_annual_global"].mean()), ", ".join(dict.fromkeys(notes["source"])))]
    if kind == "tower_nee" and inversions.own_fire is not None:
        integral = integral - inversions.own_fire.fillna(0.0)
        own = [p for p, f in fire.items() if f == "own"]
        annual = 12 * float(inversions.own_fire.sel(product=own, region="global").mean())
        rows.append(_row("own_fire", OWN_SUBTRACTED, -len(own) / len(fire), annual, ", ".join(own)))
    for term in adjustments:
        coefficient = xr.DataArray([_coefficient(kind, term.name, fire[p]) for p in fire], dims="product", coords={"product": list(fire)})
        with problems.collect():
            integral = integral + coefficient * _needed(term, inversions, coefficient != 0)
        mean = float(coefficient.mean())
        variance = variance + (mean * term.uncertainty.fillna(0.0)) ** 2
        status = SUBTRACTED if mean < 0 else ADDED if mean > 0 else UNUSED
        annual = 12 * float(term.integral.sel(region="global").mean())
        rows.append(_row(term.name, status, mean, annual, term.source))
    problems.raise_if_any()
    given = _given(names, rivers)
    missing = _missing(kind, given, fire)
    rows += [_row(m, "missing", 0.0, np.nan, "") for m in missing]
    name = _name(kind, given, fire)
    attributes = {"units": UNIT, "long_name": f"target {name}", "quantity": kind, "missing_terms": ", ".join(missing)}
    return Target(name, kind, integral.assign_attrs(attributes), variance, pd.DataFrame(rows))


def _fire_of(inversions: Inversions) -> dict[str, Fire]:
    notes, own = inversions.notes, inversions.own_fire
    has_own = set() if own is None else {str(p) for p in own["product"].to_numpy() if own.sel(product=p).notnull().any()}
    found: dict[str, Fire] = {}
    for product, included in zip(notes["product"].astype(str), notes["includes_fire"], strict=True):
        found[product] = "own" if product in has_own else "in" if included else "out"
    return found


def _row(term: str, status: str, coefficient: float, annual: float, source: str) -> dict[str, object]:
    return {"term": term, "status": status, "coefficient": coefficient, "mean_annual_global": annual, "source": source}


def _check(kind: TargetKind, terms: Sequence[str], fire: Mapping[str, Fire], rivers: Sequence[str]) -> None:
    problems = Problems()
    if kind not in get_args(TargetKind):
        problems.add(f"target: `{kind}`; allowed: {', '.join(get_args(TargetKind))}")
    given = _given(terms, rivers)
    for twice in sorted({t for t in given if given.count(t) > 1}):
        came = f" ({', '.join(rivers)} has it removed already)" if rivers and twice == RIVER_ADJUSTED else ""
        problems.add(f"adjustments: {twice} is given twice{came}; keep it once")
    for whole, contained in CONTAINS.items():
        if whole in given and (parts := [t for t in terms if t in contained]):
            problems.add(f"adjustments: {whole} contains {', '.join(parts)}; give the total or its parts, not both")
    for sink in (t for t in terms if t in SINKS and kind != "stock_change"):
        problems.add(_why_no_sink(kind, sink))
    if rivers and kind != "stock_change":
        problems.add(
            f"inversions: {', '.join(rivers)} has the river flux on land removed: a stock change, no exchange with the atmosphere; "
            f"for target {kind} use a variable without river adjustment (land_flux_only_fossil_cement_adjusted)"
        )
    if 0 < len(rivers) < len(fire):
        others = ", ".join(p for p in fire if p not in rivers)
        problems.add(f"inversions: {', '.join(rivers)} has the river flux on land removed, {others} not; keep one kind only")
    if kind == "nbe" and (extra := [t for t in terms if t != "fire" and t not in SINKS]):
        problems.add(f"adjustments: {', '.join(extra)} are part of target nbe and are not subtracted; remove them, or use target tower_nee")
    _check_fire(kind, "fire" in terms, fire, problems)
    problems.raise_if_any()


def _why_no_sink(kind: str, sink: str) -> str:
    if kind == "nbe":
        return f"adjustments: {sink} is part of target nbe and is not subtracted; remove it, or use target stock_change"
    return (
        f"adjustments: {sink} is a sink of lateral transport: towers see this uptake, so it stays in target {kind}; subtracting it "
        "gives the change of carbon stocks, another quantity; remove it (emissions such as crop_consumption are what towers do not "
        "see), or use target stock_change"
    )


def _check_fire(kind: TargetKind, given: bool, fire: Mapping[str, Fire], problems: Problems) -> None:
    lack = [p for p, f in fire.items() if f == "out"]
    have = [p for p, f in fire.items() if f == "in" or (f == "own" and kind != "tower_nee")]
    own = [p for p, f in fire.items() if f == "own" and kind == "tower_nee"]
    if given and kind == "tower_nee" and not have and not own:
        problems.add(
            "adjustments: no product includes fire, so none is to be subtracted; remove the fire adjustment or correct `includes_fire`"
        )
    if given and kind != "tower_nee" and not lack:
        problems.add(
            f"adjustments: fire belongs to target {kind} and all products include it; remove the fire adjustment, or use target tower_nee"
        )
    if not given and have and (lack or own):
        others = [*([f"{', '.join(lack)} do not"] if lack else []), *([f"{', '.join(own)} have their own taken out"] if own else [])]
        problems.add(f"inversions: {', '.join(have)} include fire, {', '.join(others)}; give a fire adjustment, or keep one kind only")
    if not given and kind != "tower_nee" and lack and not have:
        problems.add(
            f"inversions: {', '.join(lack)} lack fire, which belongs to target {kind}; give a fire adjustment, or use target tower_nee"
        )


def _coefficient(kind: TargetKind, term: str, fire: Fire) -> float:
    if term != "fire":
        return -1.0
    if kind == "tower_nee":
        return -1.0 if fire == "in" else 0.0
    return 1.0 if fire == "out" else 0.0


def _needed(term: Adjustment, inversions: Inversions, applies: xr.DataArray) -> xr.DataArray:
    """The term, after a check that it has a value wherever a product that it applies to has one."""
    used = (inversions.integral.notnull() & applies).any(["product", "region"])
    holes = (used & term.integral.isnull().any("region")).to_numpy()
    if holes.any():
        months = pd.DatetimeIndex(used["time"].to_numpy()[holes])
        raise InputError(
            f"adjustments: {term.name} ({term.source}) has no value in {say_months(months)}, years {months.year.min()} to "
            f"{months.year.max()}, where inversions have; give a file that covers them or shorten the period"
        )
    return term.integral.fillna(0.0)


def _given(terms: Sequence[str], rivers: Sequence[str]) -> list[str]:
    """All terms that are out of the target, those a product came without included."""
    return [*terms, *([RIVER_ADJUSTED] if rivers else [])]


def _missing(kind: TargetKind, given: Sequence[str], fire: Mapping[str, Fire]) -> list[str]:
    """Terms that the target should be free of but is not."""
    wanted = {"nbe": (), "tower_nee": LATERAL_EMISSIONS, "stock_change": (*LATERAL_EMISSIONS, *LATERAL_SINKS)}[kind]
    covered = {part for term in given for part in (term, *CONTAINS.get(term, ()))}
    no_fire = kind == "tower_nee" and "fire" not in given and "in" in fire.values()
    return [*(["fire"] if no_fire else []), *(w for w in wanted if w not in covered)]


def _name(kind: TargetKind, given: Sequence[str], fire: Mapping[str, Fire]) -> str:
    without_fire = kind == "tower_nee" and ("fire" in given or "in" not in fire.values())
    return " - ".join(["NBE", *(["fire"] if without_fire else []), *(t for t in given if t != "fire")])

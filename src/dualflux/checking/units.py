"""Units and signs as files and study state them: a table to look at before anything is believed."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dualflux.errors import Problems
from dualflux.sources.adjustments import AdjustmentSettings
from dualflux.sources.files.gridded import open_gridded
from dualflux.sources.files.tables import find_files, read_table
from dualflux.sources.inversions import InversionSource
from dualflux.sources.predictors.settings import say_paths
from dualflux.sources.references import ReferenceSource
from dualflux.sources.towers import FluxnetSource
from dualflux.study.settings import Study

_PER_CELL = ("carboscope", "gfed5")
_NAMES = {"carbontracker": ("bio_flux_opt", "biosphere_flux_optimized"), "gfed4": ("C",), "gfed5": ("C", "carbon_emissions")}
_OWN = "of the format"
COLUMNS = ["kind", "source", "variable", "file_unit", "study_unit", "per", "sign"]
_Known = dict[Path, dict[str, str]]
_Fluxes = InversionSource | AdjustmentSettings | ReferenceSource


def units_table(study: Study) -> pd.DataFrame:
    """What each source's file and the study say of its unit and sign.

    Returns
    -------
    DataFrame
        kind, source (file), variable, file_unit, study_unit, per, sign. `file_unit` is the attribute of the first file, or the
        units a table names, and ``of the format`` where neither file nor study says but the format's documentation does. Files
        that cannot be read are left out: their reader names the problem.
    """
    known: _Known = {}
    rows = [*_tower_rows(study), *_predictor_rows(study, known)]
    for kind in ("inversions", "adjustments", "references"):
        for source in getattr(study.settings, kind):
            with Problems().collect():
                rows.append({"kind": kind, **_flux_row(study, source, known)})
    return pd.DataFrame([{name: row.get(name, "") for name in COLUMNS} for row in rows], columns=COLUMNS)


def _tower_rows(study: Study) -> Iterator[dict[str, str]]:
    for source in study.settings.towers:
        row = {"kind": "towers", "variable": source.variable, "per": "area of land", "sign": "to_atmosphere"}
        if isinstance(source, FluxnetSource):
            path = source.path if isinstance(source.path, str) else ", ".join(source.path)
            yield {**row, "source": path, "file_unit": _OWN}
        else:
            yield {**row, "source": source.path, "study_unit": source.units}


def _predictor_rows(study: Study, known: _Known) -> Iterator[dict[str, str]]:
    for one in study.settings.predictors:
        if one.path is not None:
            variable = one.variable or one.name
            with Problems().collect():
                path = find_files(one.path, study.root, one.suffix)[0]
                unit = "" if path.suffix.lower() == ".csv" else _units_in(path, known).get(variable, "")
                yield {
                    "kind": "predictors",
                    "source": say_paths(one.path),
                    "variable": variable,
                    "file_unit": unit,
                    "study_unit": one.units or "",
                }


def _flux_row(study: Study, source: _Fluxes, known: _Known) -> dict[str, str]:
    """Row of an inversion, adjustment or product to compare with."""
    form, stated = source.format, getattr(source, "units", None) or ""
    path = find_files(source.path, study.root, getattr(source, "suffix", ".csv"))[0]
    row = {"source": path.name, "study_unit": stated, "sign": getattr(source, "sign", "to_atmosphere")}
    if form == "table":
        table = read_table(path)
        unit = ", ".join(sorted({str(u) for u in table["unit"].dropna()})) if "unit" in table else ""
        return {**row, "variable": "value", "file_unit": unit, "per": "region"}
    variable = getattr(source, "field", None) or getattr(source, "variable", None)
    names = _NAMES.get(form, ()) if variable is None else (str(variable),)
    units = {} if form == "gfed4" else _units_in(path, known)
    found = next((name for name in names if name in units), names[0])
    own = "" if stated else _OWN
    per = getattr(source, "per", "cell" if form in _PER_CELL else "area")
    return {**row, "variable": found, "file_unit": units.get(found) or own, "per": str(per)}


def _units_in(path: Path, known: _Known) -> dict[str, str]:
    """Attribute `units` of each variable of a file."""
    if path not in known:
        with open_gridded(path) as data:
            known[path] = {str(name): str(variable.attrs.get("units", "")) for name, variable in data.variables.items()}
    return known[path]

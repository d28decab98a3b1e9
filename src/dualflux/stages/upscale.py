"""The stage upscale: products and regional integrals of all members."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux import __version__
from dualflux.evaluation.regional import integral_rows
from dualflux.model.ensemble import Ensemble, load_models
from dualflux.prediction.at_towers import read_tower_predictions
from dualflux.prediction.engine import RegionalAnomalies, drawn_anomalies, integrate_month, learnt_anomalies, stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prediction.netcdf_product import ProductWriter
from dualflux.prediction.product import members_to_write
from dualflux.prediction.uncertainty import cell_scale_variance, similarity
from dualflux.prepared import Prepared, load
from dualflux.run_folder.run_folder import CITATIONS
from dualflux.stages.distance import TABLE as DISTANCE
from dualflux.stages.distance import far_from_towers, own_variance
from dualflux.study.settings import Study
from dualflux.variants import ANALYSIS, words


def upscale(study: Study, out: Path) -> None:
    """Predict all members month by month; write each variant's product and all members' regional integrals."""
    prepared = load(out / "prepared")
    own, left_out = load_models(out / "models")
    own = {v: own[v] for v in study.settings.variants}
    cells, steps = prepared.cells, prepared.cube.steps
    model = stack_ensembles([*own.values(), *left_out.values()])
    place = next(iter(own.values())).basis.at(cells.lat(), cells.lon())
    ends = np.cumsum([e.size for e in own.values()])
    similar = similarity(prepared)
    unseen, vegetated = unseen_cell_variance(out, prepared), prepared.cube.vegetated()
    every = [*own.values(), *left_out.values()]
    unknown, learnt = drawn_anomalies(every, steps.months, cells), learnt_anomalies(every, steps.months, cells)
    change = RegionalAnomalies(learnt.flux - unknown.flux, unknown.share).times(vegetated)
    integrals = np.empty((2, sum(e.size for e in every), len(steps.months), len(cells.region_names) + 1))
    with ExitStack() as open_files:
        writers = {}
        for variant, ensemble in own.items():
            members = members_to_write(ensemble.size, cells.grid, len(steps.months))
            path = out / "products" / variant / "nee_monthly.nc"
            attrs = product_attributes(study, prepared, variant)
            writers[variant] = open_files.enter_context(
                ProductWriter(path, cells, steps.months, members, attrs, prepared.land_area, similar, ensemble.anomaly is not None)
            )
        beyond = far_from_towers(every, prepared, place)
        for month in monthly_fluxes(model, prepared.cube, place, (cells.lat(), cells.lon()), unknown, beyond):
            analysis = month.landscape + _change(change, month.month)
            for layer, values in enumerate((month.landscape, analysis)):
                integrals[layer, :, month.month] = integrate_month(values, cells, steps.month_days[month.month])
            for (variant, writer), end in zip(writers.items(), ends, strict=True):
                mine, more = slice(end - own[variant].size, end), unseen.get(variant, np.nan) * vegetated**2
                known = analysis[mine] if np.isfinite(analysis[mine]).all() else None
                writer.write(month.month, month.landscape[mine], month.tower_like[mine], more, known)
    labels = [("", v, m) for v, e in own.items() for m in range(e.size)] + [
        (n, v, m) for (n, v), e in left_out.items() for m in range(e.size)
    ]
    write_members(out / "tables/regional_members.csv", *with_analyses(labels, every, integrals), prepared)


def _change(change: RegionalAnomalies, month: int) -> np.ndarray:
    """From what members do not know of a month to what the data have told of it, (member, cell); NaN where there is no analysis."""
    return change.at(slice(None), slice(month, month + 1))[0]


def with_analyses(
    labels: list[tuple[str, str, int]], ensembles: list[Ensemble], integrals: np.ndarray
) -> tuple[list[tuple[str, str, int]], np.ndarray]:
    """Labels and integrals of products, then of the analyses that there are, as variants of their own.

    Parameters
    ----------
    labels : list of (run, variant, member)
    integrals : array, (product or analysis, label, month, region)
    """
    there = np.repeat([e.anomaly is not None for e in ensembles], [e.size for e in ensembles])
    more = [(run, f"{variant}{ANALYSIS}", m) for (run, variant, m), has in zip(labels, there, strict=True) if has]
    return [*labels, *more], np.concatenate([integrals[0], integrals[1, there]])


def write_members(path: Path, labels: list[tuple[str, str, int]], integrals: np.ndarray, prepared: Prepared) -> None:
    """Write the table of `integral_rows`: (member, month, region) integrals [PgC month-1]."""
    table = integral_rows(labels, integrals, prepared.cube.steps.months, [*prepared.cells.region_names, "global"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    table.to_csv(partial, index=False, date_format="%Y-%m-%d")
    partial.replace(path)


def unseen_cell_variance(out: Path, prepared: Prepared) -> dict[str, float]:
    """Variance that a vegetated cell has of its own, per variant, from the residuals of left-out towers; empty without towers."""
    if (out / DISTANCE).is_file():
        return own_variance(pd.read_csv(out / DISTANCE, keep_default_na=False, na_values=[""]))
    predictions = read_tower_predictions(out / "models")
    found = {}
    for variant, rows in predictions.groupby("product"):
        residual = (rows.observed - rows.tower_like).groupby(rows.site).mean()
        found[str(variant)] = cell_scale_variance(residual, prepared.sites.cell)[1]
    return found


def product_attributes(study: Study, prepared: Prepared, variant: str) -> dict[str, str]:
    """What a product file says of itself."""
    target, trained = prepared.target, study.settings.variants[variant]
    missing = "" if target is None else str(target.integral.attrs.get("missing_terms", ""))
    return {
        "title": f"dualflux net ecosystem exchange, variant {variant}, study {study.settings.name}",
        "source": f"network ensemble trained on {words(trained)}",
        "target": "" if target is None else f"{target.kind}: {target.name}",
        "comment": f"Terms not accounted for: {missing}" if missing else "",
        "references": CITATIONS[0],
        "history": f"upscaled by dualflux {__version__}, study {study.settings.name}, seed {study.settings.seed}",
        "citation": "; ".join(CITATIONS) + "; and the towers, inversions and predictors that provenance.json of the run lists",
        "region_names": " ".join(prepared.cells.region_names),
    }

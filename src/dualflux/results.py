"""From predictions to the tables of a study: towers, regions, what was left out, and the verdict."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints import RegionalConstraint
from dualflux.covariance import misfit
from dualflux.ensemble_spread import ensemble_mean, to_year_month
from dualflux.evaluation import centred_nse, paired_difference, probability_summary, regional_summary, site_metrics
from dualflux.evaluation.paired import STATISTICS
from dualflux.grid import LandCells
from dualflux.model import Ensemble
from dualflux.preparation import Prepared
from dualflux.runs import VARIANTS
from dualflux.upscaling import tower_fluxes, wave_of

_UNIT = "PgC month-1"


def tower_predictions(ensembles: dict[str, Ensemble], prepared: Prepared) -> pd.DataFrame:
    """Predict every observation with the members that have not seen its site.

    Returns
    -------
    DataFrame
        product, site, group, time, observed, landscape, tower_like, std (of tower_like over those members), site_effect (NaN: a left-out
        site has none) [gC m-2 d-1].
    """
    data, sites = prepared.observations, prepared.sites
    fold = sites.fold.reindex(data.site).to_numpy()
    group = sites.group.reindex(data.site).to_numpy()
    lat, lon = sites.lat.reindex(data.site).to_numpy(), sites.lon.reindex(data.site).to_numpy()
    wave = wave_of(prepared.cube, pd.DatetimeIndex(data.time))
    tables = []
    for name, ensemble in ensembles.items():
        landscape, tower_like = tower_fluxes(ensemble, prepared.rows, lat, lon, wave)
        blind = (ensemble.fold[:, None] == fold) | (ensemble.fold[:, None] < 0)
        count = blind.sum(axis=0)
        mean = [(values * blind).sum(axis=0, dtype=np.float64) / count for values in (landscape, tower_like)]
        variance = ((tower_like - mean[1]) ** 2 * blind).sum(axis=0) / np.maximum(count - 1, 1)
        tables.append(pd.DataFrame({
            "product": name, "site": data.site, "group": group, "time": data.time, "observed": data.nee,
            "landscape": mean[0], "tower_like": mean[1], "std": np.sqrt(variance), "site_effect": np.nan,
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def representativeness_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """The table `site_representativeness.csv`: g and site effect of every left-out site.

    Returns
    -------
    DataFrame
        product, site, n (data), representativeness (mean of f + g less f), site_effect (mean of observed less f + g: what is left at a
        site that training has not seen), unit.
    """
    parts = predictions.assign(
        representativeness=predictions.tower_like - predictions.landscape, site_effect=predictions.observed - predictions.tower_like
    ).groupby(["product", "site"], sort=False)
    found = parts[["representativeness", "site_effect"]].mean()
    return found.assign(n=parts.size(), unit="gC m-2 d-1").reset_index()[
        ["product", "site", "n", "representativeness", "site_effect", "unit"]
    ]


def regional_table(members: pd.DataFrame, prepared: Prepared, constraint: RegionalConstraint) -> pd.DataFrame:
    """The table `regional_monthly.csv`: variants with their members, inversions, their ensemble mean (target), references."""
    keys = ["variant", "region", "time"]
    each = members.rename(columns={"variant": "product"})[["product", "member", "region", "time", "value"]]
    grouped = members.groupby(keys, sort=False).value
    mean = pd.concat([grouped.mean(), grouped.std(ddof=1).rename("std")], axis=1).reset_index().rename(columns={"variant": "product"})
    target = prepared.target.integral
    tables = [mean, each, series_rows(target), target_mean(prepared.target.integral)]
    if prepared.references is not None:
        tables.append(series_rows(prepared.references))
    table = pd.concat(tables, ignore_index=True).dropna(subset="value").assign(unit=_UNIT)
    table["member"] = table["member"].astype("Int64")
    return table[["product", "member", "region", "time", "value", "std", "unit"]]


def series_rows(integral: xr.DataArray) -> pd.DataFrame:
    """Long table product, region, time, value."""
    return integral.rename("value").to_series().reset_index()


def target_mean(integral: xr.DataArray) -> pd.DataFrame:
    """Mean over inversions (product, region, time) of whole years, and their standard deviation: product `target`."""
    integral = integral.transpose("product", "region", "time")
    values, years = to_year_month(integral)
    months = pd.DatetimeIndex([pd.Timestamp(y, m, 1) for y in years for m in range(1, 13)])
    regions = [str(r) for r in integral.region.to_numpy()]
    index = pd.MultiIndex.from_product([["target"], regions, months], names=["product", "region", "time"])
    spread = np.nanstd(values, axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
    return pd.DataFrame({"value": ensemble_mean(values).ravel(), "std": spread.ravel()}, index=index).reset_index()


def land_table(shares: pd.DataFrame, filled: pd.DataFrame, similarity: np.ndarray, cells: LandCells) -> pd.DataFrame:
    """The table `land.csv`: how much of each region's land is not what it seems.

    Parameters
    ----------
    shares : DataFrame
        Index region; `no_flux_share` (land whose flux is zero by rule).
    filled : DataFrame
        predictor, filled_share, dropped_share (of all land with a flux).
    similarity : array, (cell,)
        See `upscaling.applicability`.

    Returns
    -------
    DataFrame
        region, metric, value, unit; `outside_applicability_share` is the land unlike any tower.
    """
    area = np.vstack([cells.region_area, cells.land_area])
    outside = area @ (similarity > 1) / area.sum(axis=1)
    rows = [(str(r), "no_flux_share", float(v)) for r, v in shares.no_flux_share.items()]
    rows += [(r, "outside_applicability_share", float(v)) for r, v in zip([*cells.region_names, "global"], outside, strict=True)]
    for kind in ("filled_share", "dropped_share"):
        rows += [("global", f"{kind}_{n}", float(v)) for n, v in zip(filled.predictor, filled[kind], strict=True) if v > 0]
    return pd.DataFrame(rows, columns=["region", "metric", "value"]).assign(unit="1")


def summary_table(
    regional: pd.DataFrame, predictions: pd.DataFrame, left_out: pd.DataFrame, constraint: RegionalConstraint, time_step: str, seed: int
) -> pd.DataFrame:
    """The table `summary.csv`: everything a verdict needs, one number per row.

    Beside the regional metrics: `chi_square_*`, the misfit of a variant to the inversions per part, per degree of freedom
    and in units of R (mean over products: R is the variance of one product, so a variant at their centre has about
    (n - 1) / n); `chi_square_target_*`, that to the ensemble mean; rows of region `towers`, scores at left-out
    towers; rows `left_out_*`.
    """
    tables = [
        regional_summary(regional),
        probability_summary(regional),
        pd.DataFrame(_chi_squares(regional, constraint, list(constraint.regions))),
        pd.DataFrame(_tower_scores(predictions, time_step, seed)),
    ]
    if len(left_out):
        metric = "left_out_" + left_out.experiment.str.removeprefix("without_") + "_" + left_out.metric
        tables.append(left_out.assign(metric=metric, unit="")[["product", "region", "metric", "value", "unit"]])
    return pd.concat([t for t in tables if len(t)], ignore_index=True)


def _chi_squares(regional: pd.DataFrame, constraint: RegionalConstraint, regions: list[str]) -> Iterator[dict[str, object]]:
    mean = regional[regional.member.isna()]
    months = [pd.Timestamp(y, m, 1) for y in constraint.years for m in range(1, 13)]
    for product in (p for p in VARIANTS if p in set(mean["product"])):
        wide = mean[mean["product"] == product].pivot(index="time", columns="region", values="value").reindex(months)[regions]
        found = wide.to_numpy().T.reshape(len(regions), -1, 12)
        whole = np.isfinite(constraint.products).all(axis=(1, 2, 3))
        scores = {
            "chi_square": {k: v.mean(axis=0) for k, v in misfit(found - constraint.products[whole], constraint.error).items()},
            "chi_square_target": misfit(found - constraint.observed, constraint.error),
        }
        for kind, parts in scores.items():
            for part, values in parts.items():
                for region, value in zip(regions, values, strict=True):
                    yield {"product": product, "region": region, "metric": f"{kind}_{part}", "value": value, "unit": "1"}


def _tower_scores(predictions: pd.DataFrame, time_step: str, seed: int) -> Iterator[dict[str, object]]:
    table = site_metrics(predictions, time_step)
    own = table[(table.scale == time_step) & table.site.isin(["pooled", "median"]) & (table.metric == "nse")]
    for product, site, prediction, value in zip(own["product"], own.site, own.prediction, own.value, strict=True):
        yield _tower_row(product, f"nse_{site}_{prediction}", value)
    for variant in dict.fromkeys(predictions["product"]):
        for prediction in ("landscape", "tower_like"):
            value = centred_nse(predictions, str(variant), prediction, time_step, time_step)
            yield _tower_row(variant, f"centred_nse_{prediction}", value)
            cycle = table[(table["product"] == variant) & (table.prediction == prediction) & (table.scale == "seasonal_cycle")]
            pooled = cycle[(cycle.site == "pooled") & (cycle.metric == "nse")].value
            if len(pooled):
                yield _tower_row(variant, f"seasonal_cycle_nse_{prediction}", float(pooled.iloc[0]))
        for against, prediction, metric in _comparisons(str(variant), set(predictions["product"])):
            for statistic in STATISTICS:
                second = (against, "tower_like" if prediction == "tower_like" else "landscape")
                found = paired_difference(
                    predictions, (str(variant), prediction), second, metric, statistic, seed=seed, time_step=time_step
                )
                name = f"{metric}_{statistic}_{prediction}_minus_{against}"
                for ending, value in (("", found.estimate), ("_lower", found.lower), ("_upper", found.upper)):
                    yield _tower_row(variant, name + ending, value)


def _comparisons(variant: str, there: set[str]) -> list[tuple[str, str, str]]:
    wanted = {
        "plain": [("towers", "tower_like", "nse")],
        "dual": [("towers", "tower_like", "nse"), ("towers", "landscape", "centred_nse"), ("inversions", "landscape", "centred_nse")],
    }
    return [c for c in wanted.get(variant, []) if c[0] in there]


def _tower_row(product: object, metric: str, value: float) -> dict[str, object]:
    return {"product": product, "region": "towers", "metric": metric, "value": value, "unit": "1"}


_VERDICT = (
    ("mean_annual", "mean annual flux", "PgC yr-1", "target"),
    ("mean_annual_sd", "its spread over members", "PgC yr-1", ""),
    ("cycle_rmse_centred", "mean seasonal cycle, RMSE against target", "PgC month-1", "low"),
    ("annual_r", "year-to-year correlation with target", "1", "high"),
    ("chi_square_offset", "offset: misfit to the inversions", "R", ""),
    ("chi_square_cycle", "cycle: misfit to the inversions", "R", ""),
    ("chi_square_anomaly", "anomaly: misfit to the inversions", "R", ""),
)
_TOWER_VERDICT = (
    ("nse_pooled_tower_like", "left-out towers, NSE of f + g, pooled", "high"),
    ("nse_median_tower_like", "left-out towers, NSE of f + g, median over sites", "high"),
    ("nse_pooled_landscape", "left-out towers, NSE of f alone, pooled", "high"),
    ("centred_nse_landscape", "left-out towers, bias-removed NSE of f alone", "high"),
    ("seasonal_cycle_nse_landscape", "left-out towers, seasonal-cycle NSE of f alone", "high"),
    ("nse_pooled_tower_like_minus_towers_lower", "NSE of f + g minus tower-only, pooled: lower 95 % bound", ""),
    ("nse_median_tower_like_minus_towers_lower", "NSE of f + g minus tower-only, difference of medians: lower 95 % bound", ""),
    (
        "nse_median_of_differences_tower_like_minus_towers_lower",
        "NSE of f + g minus tower-only, median of the sites' differences: lower 95 % bound",
        "",
    ),
)

# Against the truth of a synthetic world; the column target is the inversions' mean's own score.
_TRUTH_VERDICT = (
    ("global_error", "global mean flux, size of the error", "PgC yr-1", "global", "low"),
    ("region_annual_rmse", "mean annual flux of regions, RMSE", "PgC yr-1", "global", "low"),
    ("region_cycle_rmse", "mean seasonal cycle of regions, RMSE", "PgC month-1", "global", "low"),
    ("cell_month_nse", "NSE over cells and months", "1", "cells", "high"),
    ("cell_month_nse_centred", "NSE over cells and months, cell means removed", "1", "cells", "high"),
    ("map_rmse", "mean map, RMSE", "gC m-2 d-1", "cells", "low"),
    ("unseen_site_nse", "unseen towers, NSE of f + g", "1", "towers", "high"),
    ("unseen_site_flux_nse", "cells of unseen towers, NSE of f", "1", "towers", "high"),
    ("variability_r", "year-to-year correlation, global", "1", "global", "high"),
    ("variability_sd_ratio", "year-to-year sd over the true one, global", "1", "global", ""),
)


def read_summary(path: Path) -> pd.DataFrame:
    """The table `summary.csv`; a region may be called NA."""
    return pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})


def verdict_table(summary: pd.DataFrame) -> pd.DataFrame:
    """What matters, variants side by side: quantity, unit, goal (low, high, target or none), target, and a column per variant."""
    variants = [v for v in VARIANTS if v in set(summary["product"])]
    values = summary.drop_duplicates(["metric", "region", "product"]).set_index(["metric", "region", "product"]).value
    regions = list(dict.fromkeys(summary.region[(summary.metric == "mean_annual")]))
    if len(regions) > 6:
        regions = ["global"]
    rows = []
    for metric, words, unit, goal in _VERDICT:
        for region in ["global", *(r for r in regions if r != "global")]:
            rows.append(_verdict_row(f"{words}, {region}", unit, goal, values, (metric, region), variants))
    for metric, words, goal in _TOWER_VERDICT:
        rows.append(_verdict_row(words, "1", goal, values, (metric, "towers"), variants))
    for metric, words, unit, region, goal in _TRUTH_VERDICT:
        key = (f"truth_{metric}", region)
        sizes = values.abs() if metric == "global_error" else values
        row = _verdict_row(f"truth: {words}", unit, goal, sizes, key, variants)
        rows.append({**row, "target": sizes.get((*key, "inversion_mean"), np.nan)})
    for metric in (m for m in dict.fromkeys(summary.metric) if str(m).startswith("with_") and str(m).endswith("_mean_annual")):
        for region in ["global", *(r for r in regions if r != "global")]:
            words = f"mean annual flux {metric.removesuffix('_mean_annual').replace('_', ' ')} subtracted, {region}"
            rows.append(_verdict_row(words, "PgC yr-1", "target", values, (metric, region), variants))
    left_out = [
        m
        for m in dict.fromkeys(summary.metric)
        if str(m).startswith("left_out_") and str(m).endswith(("bias", "cycle_rmse_centred", "annual_r"))
    ]
    for metric in left_out:
        goal = "high" if metric.endswith("annual_r") else "low"
        for region in (r for r in regions if r != "global"):
            words = (
                metric.removeprefix("left_out_")
                .replace("_cycle_rmse_centred", ": cycle RMSE")
                .replace("_annual_r", ": annual correlation")
                .replace("_bias", ": bias")
            )
            row = _verdict_row(
                f"without {words}, {region}", "", goal if not metric.endswith("bias") else "", values, (metric, region), variants
            )
            rows.append({**row, "climatology": values.get((metric, region, "climatology"), np.nan)})
    table = pd.DataFrame(rows)
    return table[table[variants].notna().any(axis=1)].reset_index(drop=True)


def _verdict_row(quantity: str, unit: str, goal: str, values: pd.Series, key: tuple[str, str], variants: list[str]) -> dict[str, object]:
    target = values.get((*key, "target"), np.nan) if goal == "target" else np.nan
    return {"quantity": quantity, "unit": unit, "goal": goal, "target": target, **{v: values.get((*key, v), np.nan) for v in variants}}


def verdict_text(verdict: pd.DataFrame) -> str:
    """The verdict as aligned text, three decimals, blanks where a product has no number."""
    shown = verdict.drop(columns="goal").dropna(axis=1, how="all")
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="", justify="right")

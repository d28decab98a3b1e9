"""What is learnt from fitting again without something: scores, predictions with intervals, and who moves the answer.

A product that was left out is x = c + own: c the centre of all products, own an error of its own of variance O, independent of the
others'. The mean of the products that were used is m = c + e with variance O / n, and truth is c + common with variance C (k^2 O, and the
error of the adjustments, which all products have). Members are draws of truth about their mean f = K m + (1 - K) f0, f0 what towers
and priors say with variance Q, K = Q / (Q + R), R = C + O / n. Their variance is V = (1 - K)^2 Q + K^2 R = K R, and with
c - f = (1 - K) (truth - f0) - (1 - K) common - K e

    variance of x - f = V + (1 - 2 K) C + O,    K = V / R, at most 1.

Where inversions alone tell the flux (K = 1) this is O (1 + 1/n): the common part, which a left-out product shares, is not in it. Where
they tell nothing (K = 0) it is that of truth, common and own part; so it is with annual anomalies of `nee` where members carry what no
predictor does, for that part of V is a draw that no inversion has told. So a left-out product tests own parts; the common part can be
tested by independent budgets alone. O, C and R are taken value by value, as if each were estimated alone; O rests on few
products, so intervals are Student's t, whose variance exceeds the square of its scale `sd` by nu / (nu - 2).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from dualflux.constraints.inversions.covariance import EnsembleError, split_parts
from dualflux.constraints.inversions.observations import HoldoutSettings, Maker, RegionalConstraint
from dualflux.constraints.inversions.spread import PARTS as ERROR_PARTS
from dualflux.metrics.pairs import paired_std
from dualflux.metrics.parts import effective_cases, interval_score
from dualflux.metrics.probability import LEVELS
from dualflux.metrics.regions import comparison_metrics
from dualflux.variants import ANALYSIS

PREDICTION_COLUMNS = [
    "experiment", "product", "region", "part", "period", "observed", "predicted", "sd_members", "sd", "degrees_of_freedom", "unit",
]  # fmt: skip
LEFT_OUT_COLUMNS = ["experiment", "product", "region", "metric", "value"]
COVERAGE_COLUMNS = ["product", "part", "region", "level", "coverage", "interval_score", "n", "cases"]
ALL_REGIONS = "all"
ATTRIBUTION_COLUMNS = ["product", "left_out", "region", "metric", "value", "sd", "unit"]
_ATTRIBUTED = {"mean_annual": "PgC yr-1", "cycle_amplitude": "PgC month-1", "annual_sd": "PgC yr-1"}
PARTS = {"mean_annual": "PgC yr-1", "cycle": "PgC month-1", "annual_anomaly": "PgC yr-1"}
_PART_OF_ERROR = {"mean_annual": "offset", "cycle": "amplitude", "annual_anomaly": "annual"}  # a cycle errs mostly in amplitude


def left_out_table(members: pd.DataFrame, make: Maker, holdout: HoldoutSettings, region_names: tuple[str, ...]) -> pd.DataFrame:
    """Scores on what an experiment did not use, beside the climatology of what it did use.

    Returns
    -------
    DataFrame
        experiment, product (a variant, or `climatology`: the mean cycle of the target that was used), region, metric, value.
    """
    full = make(None, None)
    rows: list[tuple[str, str, str, str, float]] = []
    for name in dict.fromkeys(members.run[members.run.str.startswith("without_")]):
        product = next((p for p in full.names if name == f"without_{p}"), None)
        used = make(product, None if product else holdout.span)
        years = full.years if product else np.setdiff1d(full.years, used.years)
        observed = full.products[full.names.index(product)] if product else full.observed[:, np.isin(full.years, years)]
        months = pd.DatetimeIndex([pd.Timestamp(y, m, 1) for y in years for m in range(1, 13)])
        climatology = np.tile(used.observed.mean(axis=1), len(years))
        mean = members[members.run == name].groupby(["variant", "region", "time"]).value.mean()
        for i, region in enumerate(region_names):
            truth = pd.Series(observed[i].ravel(), months)
            candidates = {"climatology": pd.Series(climatology[i], months)}
            for variant in mean.index.unique("variant"):
                series = mean.loc[variant, region].reindex(months)
                if series.notna().any():  # an analysis says nothing of left-out years
                    candidates[variant] = series
            for candidate, series in candidates.items():
                rows += [(name, candidate, region, k, v) for k, v in comparison_metrics(series, truth).items()]
    return pd.DataFrame(rows, columns=LEFT_OUT_COLUMNS)


def changed_target_rows(members: pd.DataFrame, make: Maker, holdout: HoldoutSettings, region_names: tuple[str, ...]) -> pd.DataFrame:
    """Mean annual flux of the fits with constant emissions subtracted, and of their target: rows of `summary.csv`."""
    if holdout.emissions is None:
        return pd.DataFrame()
    name = f"with_{holdout.emissions.name}"
    observed = make(None, None, holdout.emissions.values).observed
    annual = observed.sum(axis=(1, 2)) / observed.shape[1]
    rows = [("target", region, value) for region, value in zip(region_names, annual, strict=True)] + [("target", "global", annual.sum())]
    mine = members[members.run == name]
    found = 12 * mine.groupby(["variant", "region", "member"]).value.mean().groupby(["variant", "region"]).mean()
    rows += found.reset_index()[["variant", "region", "value"]].itertuples(index=False, name=None)
    table = pd.DataFrame(rows, columns=["product", "region", "value"])
    return table.assign(metric=f"{name}_mean_annual", unit="PgC yr-1")[["product", "region", "metric", "value", "unit"]]


def left_out_predictions(members: pd.DataFrame, make: Maker, region_names: tuple[str, ...]) -> pd.DataFrame:
    """Every inversion that was left out against what was predicted without it, part by part.

    Parameters
    ----------
    members : DataFrame
        run, variant, member, time, region, value [PgC month-1].

    Returns
    -------
    DataFrame
        experiment, product (a variant), region (those of the study and `global`), part, period, observed, predicted, sd_members (of the
        members), sd (scale of the predictive distribution, a Student's t, the left-out product's own error included),
        degrees_of_freedom, unit. Parts: `mean_annual` [PgC yr-1] of all years; `cycle` [PgC month-1], period 1 to 12, the mean taken out;
        `annual_anomaly` [PgC yr-1], period a year, the mean of all years taken out.
    """
    full, tables = make(None, None), []
    for name in full.names:
        mine = members[members.run == f"without_{name}"]
        variants = set(mine.variant)
        for variant, rows in mine.groupby("variant", sort=False):
            product, unknown = full.products[full.names.index(name)], f"{variant}{ANALYSIS}" in variants
            table = _predicted_product(rows, product, make(name, None), full.years, region_names, unknown)
            tables.append(table.assign(experiment=f"without_{name}", product=variant)[PREDICTION_COLUMNS])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=PREDICTION_COLUMNS)


def _predicted_product(
    rows: pd.DataFrame, product: np.ndarray, used: RegionalConstraint, years: np.ndarray, region_names: tuple[str, ...],
    unknown: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Of one product (region, year, 12) and one variant's members; `unknown`: these carry anomalies that no inversion has told."""
    if used.drawn is None:
        raise TypeError("a constraint whose own and common errors are not told apart predicts no product")
    years = years[np.isfinite(product).all(axis=(0, 2))]
    observed = product[:, np.isfinite(product).all(axis=(0, 2))]
    months = pd.DatetimeIndex([pd.Timestamp(y, m, 1) for y in years for m in range(1, 13)])
    names = [*region_names, "global"]
    wide = rows.pivot(index="member", columns=["region", "time"], values="value")
    values = wide[pd.MultiIndex.from_product([names, months])].to_numpy().reshape(len(wide), len(names), -1, 12)
    parts = _parts(values)
    found = []
    truth = _parts(np.concatenate([observed, observed.sum(axis=0, keepdims=True)])[None])
    inflation, freedom = used.drawn.inflation, used.drawn.own.freedom
    own, common, mean = (_variances(error, len(years)) for error in (*used.drawn.of_product(), used.error))
    period = {"mean_annual": [""], "cycle": [str(m) for m in range(1, 13)], "annual_anomaly": [str(y) for y in years]}
    for part, unit in PARTS.items():
        spread = paired_std(parts[part])
        place = ERROR_PARTS.index(_PART_OF_ERROR[part])
        told = 0.0 if unknown and part == "annual_anomaly" else None
        variance = predictive_variance(spread**2, mean[part], common[part], own[part], told) / inflation[place]
        table = pd.DataFrame({
            "region": np.repeat(np.array(names), len(period[part])), "part": part, "period": period[part] * len(names),
            "observed": truth[part][0].ravel(), "predicted": parts[part].mean(axis=0).ravel(), "sd_members": spread.ravel(),
            "sd": np.sqrt(variance).ravel(), "degrees_of_freedom": freedom[place], "unit": unit,
        })  # fmt: skip
        found.append(table)
    return pd.concat(found, ignore_index=True)


def _parts(values: np.ndarray) -> dict[str, np.ndarray]:
    """Integrals (..., region, year, 12) [PgC month-1] as mean (..., region, 1), cycle (..., 12) and annual anomalies (..., year)."""
    offset, cycle, anomaly = split_parts(values)
    return {"mean_annual": 12 * offset[..., None], "cycle": cycle, "annual_anomaly": anomaly.sum(axis=-1)}


def predictive_variance(
    members: np.ndarray, mean: np.ndarray, common: np.ndarray, own: np.ndarray, told: float | None = None
) -> np.ndarray:  # fmt: skip
    """Of a left-out product about the members' mean: V + (1 - 2 K) C + O, K = V / R at most 1 (see the top of this module).

    Parameters
    ----------
    members, mean, common, own : array
        V, R, C and O, of shapes that go together.
    told : float, optional
        K where V does not tell it.
    """
    gain = np.minimum(members / mean, 1.0) if told is None else told
    return np.asarray(members + (1 - 2 * gain) * common + own)


def _variances(error: EnsembleError, years: int) -> dict[str, np.ndarray]:
    """Of each part, of the regions and of their sum, (region + 1, 1 or 12)."""
    offset, cycle, anomaly = (
        np.concatenate([own, of_sum]) for own, of_sum in zip(error.marginals(), error.marginals_of_total(), strict=True)
    )
    annual = anomaly.sum(axis=(1, 2))[:, None] * (1 - 1 / years)
    return {"mean_annual": 144 * offset[:, None], "cycle": np.einsum("rii->ri", cycle), "annual_anomaly": annual}


def left_out_coverage(predictions: pd.DataFrame) -> pd.DataFrame:
    """Share of a left-out product's values inside their central predictive intervals, and what the intervals are worth.

    Returns
    -------
    DataFrame
        product (a variant), part, region (`all`: over the regions, without the globe), level (0 to 1), coverage [1], interval_score [the
        part's unit] (see `interval_score`), n (values), cases: their effective number (see `effective_cases`), for the values of one
        left-out product in one region hang together, so that three bands of four products are at most twelve means.
    """
    rows = predictions[predictions.region != "global"]
    everywhere = rows.assign(region=ALL_REGIONS)
    groups = rows.experiment.astype(str) + "/" + rows.region.astype(str)
    found = [
        (*key, *score)
        for table in (everywhere, rows)
        for key, own in table.groupby(["product", "part", "region"], sort=False)
        for score in _coverage(own, groups[own.index].to_numpy())
    ]
    return pd.DataFrame(found, columns=COVERAGE_COLUMNS)


def _coverage(rows: pd.DataFrame, group: np.ndarray) -> Iterator[tuple[float, float, float, int, float]]:
    """Level, coverage, interval score, n and cases of one part."""
    observed, predicted, sd = (rows[c].to_numpy(dtype=np.float64) for c in ("observed", "predicted", "sd"))
    half = [stats.t.ppf((1 + level) / 2, rows.degrees_of_freedom.to_numpy(dtype=np.float64)) * sd for level in LEVELS]
    inside = np.stack([np.abs(observed - predicted) <= h for h in half])
    cases = effective_cases(inside, np.unique(group, return_inverse=True)[1], np.ones(len(rows)))
    for level, h, held in zip(LEVELS, half, inside, strict=True):
        score = interval_score(observed, predicted - h, predicted + h, level).mean()
        yield level, float(held.mean()), float(score), len(rows), cases


def attribution(members: pd.DataFrame, folds: dict[str, np.ndarray]) -> pd.DataFrame:
    """How the answer moves when a source is left out: one inversion, or the tower groups of one fold.

    Parameters
    ----------
    members : DataFrame
        run, variant, member, time, region, value [PgC month-1].
    folds : dict of str to array of int, (member,)
        Fold that each member of a variant has not seen.

    Returns
    -------
    DataFrame
        product (a variant), left_out (an experiment's name, or `towers of fold K`), region, metric, value, sd, unit. The value is
        that without less that with all (for towers: members without the fold less the others), sd that of this difference from the
        scatter of members. Metrics: `mean_annual` and `annual_sd` (over years) [PgC yr-1], `cycle_amplitude` [PgC month-1] (highest
        less lowest month of the mean year).
    """
    found = []
    for variant, fold in folds.items():
        mine = members[members.variant == variant]
        own = _member_facts(mine[mine.run == ""])
        which = own.index.get_level_values("member").map(dict(enumerate(fold)))
        for k in np.unique(fold[fold >= 0]):
            found.append(_difference(own[which == k], own[which != k]).assign(product=variant, left_out=f"towers of fold {k}"))
        for run in (r for r in dict.fromkeys(mine.run) if r.startswith("without_")):
            found.append(_difference(_member_facts(mine[mine.run == run]), own).assign(product=variant, left_out=run))
    return pd.concat(found, ignore_index=True)[ATTRIBUTION_COLUMNS] if found else pd.DataFrame(columns=ATTRIBUTION_COLUMNS)


def _member_facts(rows: pd.DataFrame) -> pd.DataFrame:
    """Index region, member; columns mean_annual, cycle_amplitude, annual_sd."""
    keys = ["region", "member"]
    annual = rows.groupby([*keys, rows.time.dt.year.rename("year")]).value.sum().groupby(keys)
    cycle = rows.groupby([*keys, rows.time.dt.month.rename("month")]).value.mean().groupby(keys)
    return pd.DataFrame({"mean_annual": annual.mean(), "cycle_amplitude": cycle.max() - cycle.min(), "annual_sd": annual.std(ddof=1)})


def _difference(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Long table region, metric, value, sd, unit of a difference of means over members."""
    tables = []
    for metric, unit in _ATTRIBUTED.items():
        first, second = (t[metric].groupby("region").agg(["mean", "var", "size"]) for t in (one, other))
        sd = np.sqrt(first["var"] / first["size"] + second["var"] / second["size"])
        tables.append(pd.DataFrame({"metric": metric, "value": first["mean"] - second["mean"], "sd": sd, "unit": unit}).reset_index())
    return pd.concat(tables, ignore_index=True)

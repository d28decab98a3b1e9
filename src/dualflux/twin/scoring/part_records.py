"""Scores by part in the records of several worlds: their keys, single regions' coverage, and errors of mean coverages over worlds."""

from typing import Any

import numpy as np
import pandas as pd

from dualflux.metrics.parts import COVERAGES, PARTS
from dualflux.twin.scoring.by_part import CELLS, OF_YEARS, part_keys
from dualflux.twin.scoring.paired import Record

UNSEEN = "_unseen_years"
PART_KEYS = (*(key for part in PARTS for key in part_keys(part)), *(f"{key}{UNSEEN}" for part in OF_YEARS for key in part_keys(part)))
BY_REGION = "by_region"


def part_record(summary: pd.DataFrame, product: str) -> dict[str, Any]:
    """What the record of one product and world holds by part.

    Parameters
    ----------
    summary : DataFrame
        product, region, metric, value.

    Returns
    -------
    dict
        Each of `PART_KEYS`, None where there is no such score, and `by_region`: region to the coverages of it alone, and the share of all
        land that its cells have.
    """
    mine = summary[summary["product"] == product]
    names = mine["metric"].str.removeprefix("truth_")
    pooled = mine["region"].isin(["global", "cells"])
    values = dict(zip(names[pooled], mine["value"][pooled], strict=True))
    wanted = {key for key in PART_KEYS if "coverage_" in key} | {f"{CELLS}share"}
    single = mine[~pooled & names.isin(wanted)].assign(name=names)
    regions = {str(r): dict(zip(rows["name"], rows["value"].astype(float), strict=True)) for r, rows in single.groupby("region")}
    return {key: None if (v := values.get(key)) is None else float(v) for key in PART_KEYS} | {BY_REGION: regions}


def coverage_errors(records: list[Record], product: str = "dual", repeats: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean coverage of one product over worlds and regions, with errors from drawing (world, region) groups again.

    A region of a world is one case: its values hang together, and so may its levels. Regions of one world are drawn apart: what errs in
    all regions of a world alike makes the errors too small.

    Parameters
    ----------
    records : list of dict
        Of `part_record`.
    repeats : int
        Bootstrap samples.

    Returns
    -------
    DataFrame
        score (a coverage's key), mean, standard_error, lower, upper (95 %), groups. Regions count alike, cells by land area; without rows
        where no region has the score.
    """
    groups = [(r["seed"], region, scores) for r in records if r["product"] == product for region, scores in r.get(BY_REGION, {}).items()]
    rows = []
    for key in (k for k in PART_KEYS if "coverage_" in k):
        have = [scores for _, _, scores in groups if scores.get(key) is not None]
        if not have:
            continue
        value = np.array([scores[key] for scores in have])
        weight = np.array([scores[f"{CELLS}share"] if key.startswith(CELLS) else 1.0 for scores in have])
        drawn = np.random.default_rng(seed).integers(len(have), size=(repeats, len(have)))
        means = (weight * value)[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
        lower, upper = np.quantile(means, [0.025, 0.975])
        rows.append((key, float(weight @ value / weight.sum()), float(means.std(ddof=1)), float(lower), float(upper), len(have)))
    return pd.DataFrame(rows, columns=["score", "mean", "standard_error", "lower", "upper", "groups"])


def part_table(records: list[Record], product: str = "dual") -> pd.DataFrame:
    """Scores by part, mean over worlds: a row per part (of cells, of unseen years), and the errors of its coverages."""
    mine = pd.DataFrame([r for r in records if r["product"] == product])
    errors = coverage_errors(records, product).set_index("score")["standard_error"]
    rows = {}
    for where, part, end in _rows():
        key = f"{where}{{}}_{part}{end}"
        found = {name: mine[key.format(name)].astype(float).mean() for name in (*COVERAGES, "cases", "interval_score", "slope")}
        found |= {f"+- {name.removeprefix('coverage_')}": errors.get(key.format(name), np.nan) for name in COVERAGES}
        rows[f"{where}{part}{end}"] = found
    return pd.DataFrame(rows).T


def _rows() -> list[tuple[str, str, str]]:
    """Regions or cells, part, fitted or unseen years."""
    return [(w, p, end) for w in ("", CELLS) for end, parts in (("", PARTS), (UNSEEN, OF_YEARS)) for p in parts]

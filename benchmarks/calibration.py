"""Simulation-based calibration of the linear step: is the truth one more draw of the posterior?

    python benchmarks/calibration.py --out calibration.json [--draws 500] [--degrees-of-freedom 4] [--processes 2]

A truth of all unknowns (readout, u, g, regional anomalies a) is drawn from its own prior, on fixed features. Towers and inversions are made
from it with the project's operators and with errors drawn here: those of towers in parts (what sites and their years have of their own,
memory, Student-t noise), those of inversions by drawing every single product (own and common error, with the share and the variances drawn
too) and averaging. The project's own path then draws members, the towers' weights with them. If its algebra and all variances are
right, the truth's rank among independent members is uniform (Talts et al. 2018, arXiv:1804.06788), in every unknown, at every
site, and in every part of every region and cell: of f alone, and of the analysis f + a. The prediction, f with a draw of a's prior, is no
posterior of the fitted years: f takes up some of a there, so its intervals are too wide, and how much is recorded beside the others.

Writes a list of records: part, level, coverage, where (unknowns, sites, regions, total, cells; the last three with `_analysis` and
`_prediction` too), cases (effective number), standard_error, coverage_normal (of intervals as in the tables: mean and sd over
members, here 18), and rank_p_value (chi-square of the ranks, one per draw).
"""

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from calibration_truth import (
    Fixed,
    Truth,
    at_cells,
    at_regions,
    at_towers,
    cell_design,
    draw_inversions,
    draw_towers,
    draw_truth,
    region_design,
    root,
)
from calibration_world import SPATIAL, TAILS, World, draw_world
from scipy.stats import chisquare, norm

from dualflux.constraints.base import generator
from dualflux.constraints.inversions.equations import RegionalEquations
from dualflux.constraints.towers.constraint import NAMES
from dualflux.constraints.towers.equations import TowerEquations
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.fitting.ensembles import ALL_SITES, Run, Stack, stack_members
from dualflux.fitting.linear_posterior import WEIGHT_ROUNDS, MemberProblem, draw_member, solve
from dualflux.fitting.posterior_draws import LinearStep
from dualflux.metrics.pairs import paired_std
from dualflux.metrics.parts import split_months
from dualflux.metrics.probability import LEVELS
from dualflux.model.anomaly_effect import OF_PREDICTION
from dualflux.run_folder.files import write_atomically
from dualflux.variants import VARIANTS

OF_ANOMALIES = ("trend", "anomaly", "annual")  # parts that regional anomalies have
PAIRS = 9  # one member of each is independent: 10 ranks
WIDER = {"prior": 1.0, "towers": 1.0, "inversions": 1.0}  # variance of a truth or error over what the project is told; 1: the same


@lru_cache(maxsize=2)
def fixed(freedom: float) -> Fixed:
    """Designs of the drawn world."""
    world = draw_world(freedom)
    constraints = world.towers, world.inversions
    stack = _members(constraints, 0)
    step = LinearStep.create(
        world.landscape, constraints, world.device, SPATIAL, stack.plans, stack.family, stack.seeds, anomaly=world.anomaly
    )  # fmt: skip
    of_areas = step._integrals(jax.tree.map(lambda a: a[None], world.model.network))
    columns = [step._columns(linear, world.model, each, 0) for linear, each in zip(step.linear, of_areas, strict=True)]
    (prior,) = _problems(world, step, columns, stack, 1)
    spread = step.centre(prior.layout, stack.members, np.zeros(1, int))
    site_sd = {part: float(stack.members.sd[name][0]) for part, name in NAMES.items()}
    covariance = world.anomaly.covariance(world.inversions.data.years)
    return Fixed(world, step, columns, cell_design(world), prior, spread, site_sd, root(covariance))


def _members(constraints: Sequence[Any], seed: int) -> Stack:
    runs = [Run("", "dual", VARIANTS["dual"], (ALL_SITES,), 2 * PAIRS)]
    return stack_members(constraints, runs, TowerTermSettings(), [{}], seed)


# What the project makes of a truth


def draw(seed: int, freedom: float = TAILS, wider: Mapping[str, float] = WIDER) -> dict[tuple[str, str], np.ndarray]:
    """One truth: by (where, part), ranks and distances in sds of all its values, (2, value)."""
    fix, random = fixed(freedom), np.random.default_rng([seed, 1])
    truth = draw_truth(fix, random, wider["prior"])
    regional = draw_inversions(fix, truth, random, wider["inversions"])
    towers = draw_towers(fix, truth, random, wider["towers"])
    step = replace(fix.step, linear=[towers, replace(fix.equations(RegionalEquations), data=regional)])
    stack = _members((fix.world.towers, replace(fix.world.inversions, data=regional)), seed)
    problems = _problems(fix.world, step, fix.columns, stack, 2 * PAIRS)
    begin, size = _mode(problems[0], fix.spread), fix.prior.layout.size
    found = [draw_member(p, begin, fix.spread, generator(s[:-1], "weights")) for p, s in zip(problems, stack.seeds, strict=True)]
    everything = np.stack([*found, np.concatenate([truth.unknowns, truth.anomaly.ravel()])])
    both = Truth(everything[:, :size], everything[:, size:].reshape(len(everything), *truth.anomaly.shape))
    unknown = np.stack([s[-1] * fix.world.anomaly.draw(s[:-1], OF_PREDICTION, fix.years, fix.years) for s in stack.seeds])
    return {**dict(_of_unknowns(fix, both)), **dict(_of_flux(fix, both, np.concatenate([unknown, both.anomaly[-1:]])))}


def _problems(world: World, step: LinearStep, columns: list[np.ndarray], stack: Stack, count: int) -> list[MemberProblem]:
    """Of the first members; all have the same hidden layers."""
    here = replace(step, plans=stack.plans, seeds=stack.seeds)
    model, parts, sd = jax.tree.map(np.asarray, (world.model, stack.members.parts, stack.members.sd))
    return [here._problem(model, *jax.tree.map(lambda a, i=i: a[i], (parts, sd)), columns, i) for i in range(count)]


def _mode(problem: MemberProblem, spread: np.ndarray) -> np.ndarray:
    """Where draws begin, as `linear_posterior.estimate` has it but for sds, which are stated here."""
    solution = problem.trained
    for left in reversed(range(WEIGHT_ROUNDS)):
        mine = replace(problem, anomaly=None) if left else problem
        normals = mine.normals(solution)
        solution = mine.whole(normals, solve(mine, normals, spread, draw=False)[0])
    return solution


def _of_unknowns(fix: Fixed, both: Truth) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Ranks and distances of every unknown, and of what towers see without their errors: a site's mean, and its months about it."""
    layout, records = fix.prior.layout, fix.equations(TowerEquations).records
    for effect in layout.effects:
        if effect.size:
            yield ("unknowns", effect.name), _compare(both.unknowns[:, layout.place(effect.name)])
    yield ("unknowns", "anomaly"), _compare(both.anomaly.reshape(len(both.anomaly), -1))
    seen = np.stack([at_towers(fix, Truth(*one)) for one in zip(both.unknowns, both.anomaly, strict=True)])
    month = np.add.reduceat(seen, records.first[:-1], axis=1) / np.diff(records.first)
    yield ("sites", "offset"), _compare(month)
    yield ("sites", "months"), _compare(seen - month[:, records.site])


def _of_flux(fix: Fixed, both: Truth, predicted: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Ranks and distances of every part of regions, their total and cells: of f, and of f + a, of which a has anomalies alone.

    `predicted`, (member, year, region, 12), are anomalies of which members know the prior alone, and the truth's.
    """
    layout = fix.prior.layout
    own = both.unknowns[:, layout.places(layout.of_flux())]
    regions = np.einsum("ryik,mk->mryi", region_design(fix), own, optimize=True)
    cells = np.einsum("cyik,mk->mcyi", fix.cells, own, optimize=True)
    for name, anomaly in (("", 0.0 * both.anomaly), ("_analysis", both.anomaly), ("_prediction", predicted)):
        of_regions = regions + at_regions(fix, anomaly)
        series = {"regions": of_regions, "total": of_regions.sum(axis=1, keepdims=True), "cells": cells + at_cells(fix, anomaly)}
        for where, values in series.items():
            for part, value in split_months(values).items():
                if not name or part in OF_ANOMALIES:
                    yield (where + name, part), _compare(value.reshape(len(value), -1))


def _compare(values: np.ndarray) -> np.ndarray:
    """Rank of the last among the first of each pair, and its distance to the members' mean in their sd, (2, value)."""
    members, truth = values[:-1], values[-1]
    distance = np.abs(truth - members.mean(axis=0)) / paired_std(members)
    return np.stack([(members[::2] < truth).sum(axis=0), distance]).astype(np.float32)


# Scores


def records(found: Sequence[Mapping[tuple[str, str], np.ndarray]]) -> list[dict[str, Any]]:
    """Of all draws: part, level, coverage, where and how sure it is."""
    random, rows = np.random.default_rng(0), []
    for where, part in found[0]:
        rank, distance = np.stack([one[where, part] for one in found], axis=1)  # (draw, value)
        picked = rank[np.arange(len(rank)), random.integers(rank.shape[1], size=len(rank))]
        p_value = float(chisquare(np.bincount(picked.astype(int) // 2, minlength=(PAIRS + 1) // 2)).pvalue)
        for level in LEVELS:
            inside = inside_share(rank, level).mean(axis=1)
            error = max(float(inside.std(ddof=1) / np.sqrt(len(inside))), 1e-9)
            rows.append({
                "part": part, "level": level, "coverage": float(inside.mean()), "where": where, "standard_error": error,
                "cases": level * (1 - level) / error**2, "coverage_normal": float((distance <= norm.ppf((1 + level) / 2)).mean()),
                "rank_p_value": p_value, "draws": len(found),
            })  # fmt: skip
    return rows


def inside_share(rank: np.ndarray, level: float) -> np.ndarray:
    """How much of a rank's place, of PAIRS + 1 that are equally likely, lies in the central interval: right on average at any level."""
    low, high = (PAIRS + 1) * (1 - level) / 2, (PAIRS + 1) * (1 + level) / 2
    return np.clip(np.minimum(rank + 1, high) - np.maximum(rank, low), 0, 1)


def worst(rows: Sequence[Mapping[str, Any]]) -> float:
    """Largest distance of a coverage from its level in binomial standard errors of that many cases, predictions aside."""
    rows = [r for r in rows if not r["where"].endswith("_prediction")]
    return max(abs(r["coverage"] - r["level"]) * float(np.sqrt(r["cases"] / (r["level"] * (1 - r["level"])))) for r in rows)


def pooled(found: Sequence[Mapping[tuple[str, str], np.ndarray]], where: str) -> tuple[float, float]:
    """Coverage less its level, mean over levels and parts of one `where`, and its standard error over draws: one number, hence sharp."""
    each = [[(inside_share(v[0], p) - p).mean() for (w, _), v in one.items() if w == where for p in LEVELS] for one in found]
    of_draw = np.mean(each, axis=1)
    return float(of_draw.mean()), float(of_draw.std(ddof=1) / np.sqrt(len(of_draw)))


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("calibration.json"))
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--degrees-of-freedom", type=float, default=TAILS, help="of the towers' errors")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    begin = time.monotonic()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(partial(draw, freedom=options.degrees_of_freedom), range(options.draws), chunksize=10))
    rows = records(found)
    write_atomically(options.out, json.dumps(rows, indent=1))
    table = pd.DataFrame(rows)
    for value in ("coverage", "coverage_normal"):
        print(f"\n{value}\n{table.pivot(index=['where', 'part'], columns='level', values=value).round(3).to_string()}")
    table = table[~table["where"].str.endswith("_prediction")]
    off = (table.coverage - table.level).abs()
    said = f"largest distance to the level {off.max():.3f}, of fluxes {off[~table['where'].isin(['unknowns', 'sites'])].max():.3f}"
    print(f"\n{said}; smallest p of ranks {table.rank_p_value.min():.4f}; {options.draws} draws in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()

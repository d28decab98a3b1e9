"""Simulation-based calibration of the linear step: is the truth one more draw of the posterior?

    python benchmarks/calibration.py --out calibration.json [--draws 1000] [--degrees-of-freedom 4] [--processes 2]

A truth of all unknowns (readout, u, g, b) is drawn from its own prior, on fixed features. Towers and inversions are made from it with
the project's operators and with errors drawn here: those of towers from their stated scale, those of inversions by drawing every single
product (own and common error, with the share and the variances drawn too) and averaging. The project's own `solve` then draws members. If
its algebra and all variances are right, the truth's rank among independent members is uniform (Talts et al. 2018,
arXiv:1804.06788), in every unknown, at every site, and in every part of every region and cell.

Writes a list of records: part, level, coverage, where (unknowns, sites, regions, total, cells), cases (effective number), standard_error,
coverage_normal (of intervals as in the tables: mean and sd over members), and rank_p_value (chi-square of the ranks, one per draw).
"""

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from calibration_world import GAUSSIAN, SPATIAL, World, draw_world
from scipy.stats import chisquare, norm

from dualflux.constraints.base import Layout
from dualflux.constraints.inversions.equations import RegionalEquations
from dualflux.constraints.inversions.mean_error import COMMON_SHARE_SD, MeanError
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.constraints.towers.equations import TowerEquations
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.fitting.ensembles import ALL_SITES, Run, Stack, stack_members
from dualflux.fitting.linear_posterior import WEIGHT_ROUNDS, MemberProblem, solve
from dualflux.fitting.posterior_draws import LinearStep
from dualflux.metrics.pairs import paired_std
from dualflux.metrics.parts import split_months
from dualflux.metrics.probability import LEVELS
from dualflux.model.flux_model import Network
from dualflux.model.spatial_effect import harmonics
from dualflux.run_folder.files import write_atomically
from dualflux.variants import VARIANTS

PAIRS = 19  # one member of each is independent: 20 ranks
WIDER = {"prior": 1.0, "towers": 1.0, "inversions": 1.0}  # variance of a truth or error over what the project is told; 1: the same


@dataclass(frozen=True)
class Fixed:
    """What all draws share.

    Attributes
    ----------
    world : World
    step : LinearStep
        Of the members of one draw.
    columns : list of array
        What the readout multiplies, of each constraint.
    cells : array, (cell, year, 12, unknown of the flux)
        Design of the flux of all cells [gC m-2 d-1].
    prior : MemberProblem
        Of a member without data: its priors and layout.
    spread : array, (effect,)
        Sds of effects that are estimated elsewhere; here they stay where their estimation starts.
    """

    world: World
    step: LinearStep
    columns: list[np.ndarray]
    cells: np.ndarray
    prior: MemberProblem
    spread: np.ndarray


@lru_cache(maxsize=2)
def fixed(freedom: float) -> Fixed:
    """Designs of the drawn world."""
    world = draw_world(freedom)
    constraints = world.towers, world.inversions
    stack = _members(constraints, 0)
    step = LinearStep.create(world.landscape, constraints, world.device, SPATIAL, stack.plans, stack.family, stack.seeds)
    of_areas = step._integrals(jax.tree.map(lambda a: a[None], world.model.network))
    columns = [step._columns(linear, world.model, each, 0) for linear, each in zip(step.linear, of_areas, strict=True)]
    (prior,) = _problems(world, step, columns, stack, 1)
    return Fixed(world, step, columns, cell_design(world), prior, step.centre(prior.layout, stack.members, np.zeros(1, int)))


def _members(constraints: Sequence[Any], seed: int) -> Stack:
    runs = [Run("", "dual", VARIANTS["dual"], (ALL_SITES,), 2 * PAIRS)]
    return stack_members(constraints, runs, TowerTermSettings(), [{}], seed)


def cell_design(world: World) -> np.ndarray:
    """Columns of f at all cells, (cell, year, 12, unknown): hidden features, then u's lasting and seasonal part."""
    cube, cells = world.cube, world.cells
    step, cell = np.indices((len(cube.steps.time), len(cells.index)))
    features = np.asarray(Network.features(world.model.network, cube.rows(step, cell)), dtype=np.float64)
    wave, place = harmonics(cube.steps.season, len(cube.seasonal)), world.landscape.basis.at(cells.lat(), cells.lon())
    u = np.einsum("th,ck->tchk", wave, place).reshape(*features.shape[:2], -1)
    design = np.concatenate([features, u], axis=-1)
    return np.moveaxis(design, 1, 0).reshape(len(cells.index), -1, 12, design.shape[-1])


def region_design(fix: Fixed) -> np.ndarray:
    """The inversions' own operator, (region, year, 12, unknown)."""
    equations = _equations(fix.step, RegionalEquations)
    integrals = fix.columns[1].reshape(*equations.spatial.shape[:3], -1)
    return np.concatenate([integrals, equations.spatial, equations.series], axis=-1)


def _equations(step: LinearStep, kind: type) -> Any:
    return next(linear for linear in step.linear if isinstance(linear, kind))


# A truth, and what is seen of it


def draw_truth(problem: MemberProblem, spread: np.ndarray, random: np.random.Generator, wider: float) -> np.ndarray:
    """All unknowns from their priors: the readout about where training ended, all others about zero."""
    truth = np.sqrt(wider) * problem.sds(spread) * random.standard_normal(problem.layout.size)
    readout = problem.layout.place("readout")
    truth[readout] += problem.trained[readout]
    return truth


def draw_towers(fix: Fixed, truth: np.ndarray, layout: Layout, random: np.random.Generator, wider: float, freedom: float) -> TowerEquations:
    """Towers that see the truth with errors of their scale: uncertainty, and floor and growth with the flux that training ended with."""
    equations, own = _equations(fix.step, TowerEquations), fix.world.model.own["towers"]
    place, columns, towers, order = layout.places(equations.names()), fix.columns[0], equations.towers, equations.order
    trained = columns @ np.asarray(fix.world.model.network.readout, np.float64)
    structural = np.exp(float(own.log_error_floor)) + np.exp(float(own.log_error_growth)) * np.abs(trained)
    scale = np.sqrt(wider * (towers.uncertainty[order].astype(np.float64) ** 2 + structural**2))
    noise = random.standard_normal(len(order)) if freedom == GAUSSIAN else random.standard_t(freedom, len(order))
    observed = np.empty(len(order), np.float32)
    observed[order] = equations.expected(columns, truth[place]) + scale * noise
    return replace(equations, towers=replace(towers, observed=observed))


def draw_inversions(fix: Fixed, truth: np.ndarray, random: np.random.Generator, wider: float) -> RegionalConstraint:
    """The mean of products that see the truth's integrals, each with an error of its own and one that all have."""
    data = fix.world.inversions.data
    assert data.drawn is not None
    error = error_of_mean(data.drawn, len(data.names), len(data.years), random)
    return replace(data, observed=region_design(fix) @ truth + np.sqrt(wider) * error)


def error_of_mean(mean: MeanError, products: int, years: int, random: np.random.Generator) -> np.ndarray:
    """What the mean of some products errs, (region, year, 12): product by product, with their common share and variances drawn."""
    share = abs(random.normal()) * COMMON_SHARE_SD
    own = mean.own.error(mean.own.freedom / random.chisquare(mean.own.freedom))
    each = np.mean([own.draw(random, years) for _ in range(products)], axis=0)
    adjustments = mean.adjustment * random.normal(size=(len(mean.adjustment), 1))
    return each + share * own.draw(random, years) + adjustments[:, None]


# What the project makes of it


def draw(seed: int, freedom: float = GAUSSIAN, wider: Mapping[str, float] = WIDER) -> dict[tuple[str, str], np.ndarray]:
    """One truth: by (where, part), ranks and distances in sds of all its values, (2, value)."""
    fix, random = fixed(freedom), np.random.default_rng([seed, 1])
    layout, spread = fix.prior.layout, fix.spread
    truth, flux = draw_truth(fix.prior, spread, random, wider["prior"]), layout.places(layout.of_flux())
    regional = draw_inversions(fix, truth[flux], random, wider["inversions"])
    towers = draw_towers(fix, truth, layout, random, wider["towers"], freedom)
    step = replace(fix.step, linear=[towers, replace(_equations(fix.step, RegionalEquations), data=regional)])
    stack = _members((fix.world.towers, replace(fix.world.inversions, data=regional)), seed)
    problems = _problems(fix.world, step, fix.columns, stack, 2 * PAIRS)
    solution = _mode(problems[0], spread, freedom)
    members = np.stack([solve(p, p.normals(solution), spread, draw=True)[0] for p in problems])
    everything = np.concatenate([members, truth[None]])
    return {**dict(_of_unknowns(fix, layout, everything)), **dict(_of_flux(fix, everything[:, flux]))}


def _problems(world: World, step: LinearStep, columns: list[np.ndarray], stack: Stack, count: int) -> list[MemberProblem]:
    """Of the first members; all have the same hidden layers."""
    here = replace(step, plans=stack.plans, seeds=stack.seeds)
    model, parts, sd = jax.tree.map(np.asarray, (world.model, stack.members.parts, stack.members.sd))
    return [here._problem(model, *jax.tree.map(lambda a, i=i: a[i], (parts, sd)), columns, i) for i in range(count)]


def _mode(problem: MemberProblem, spread: np.ndarray, freedom: float) -> np.ndarray:
    """Where the towers' weights are taken, as `linear_posterior.estimate` does; weights of Gaussian errors do not depend on it."""
    solution = problem.trained
    for _ in range(WEIGHT_ROUNDS * (freedom != GAUSSIAN)):
        solution = solve(problem, problem.normals(solution), spread, draw=False)[0]
    return solution


def _of_unknowns(fix: Fixed, layout: Layout, everything: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Ranks and distances of every unknown, and of what towers see without their errors: a site's mean, and its months about it."""
    for effect in layout.effects:
        if effect.size:
            yield ("unknowns", effect.name), _compare(everything[:, layout.place(effect.name)])
    equations = _equations(fix.step, TowerEquations)
    place, columns = layout.places(equations.names()), fix.columns[0]
    seen = np.stack([equations.expected(columns, one[place]) for one in everything])
    month = np.add.reduceat(seen, equations.start, axis=1) / np.diff(np.r_[equations.start, seen.shape[1]])
    month = month.reshape(len(seen), -1, 12)  # towers have whole years
    mean = month.mean(axis=2, keepdims=True)
    for part, values in (("offset", mean), ("cycle", month - mean)):
        yield ("sites", part), _compare(values.reshape(len(values), -1))


def _of_flux(fix: Fixed, everything: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Ranks and distances of every part of regions, their total and cells."""
    regions = np.einsum("ryik,mk->mryi", region_design(fix), everything, optimize=True)
    cells = np.einsum("cyik,mk->mcyi", fix.cells, everything, optimize=True)
    for where, series in (("regions", regions), ("total", regions.sum(axis=1, keepdims=True)), ("cells", cells)):
        for part, values in split_months(series).items():
            yield (where, part), _compare(values.reshape(len(values), -1))


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
            error = float(inside.std(ddof=1) / np.sqrt(len(inside)))
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
    """Largest distance of a coverage from its level in binomial standard errors of that many cases."""
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
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--degrees-of-freedom", type=float, default=GAUSSIAN, help="of the towers' errors; default: Gaussian")
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
    off = (table.coverage - table.level).abs()
    said = f"largest distance to the level {off.max():.3f}, in regions and cells {off[table['where'].isin(['regions', 'cells'])].max():.3f}"
    print(f"\n{said}; smallest p of ranks {table.rank_p_value.min():.4f}; {options.draws} draws in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()

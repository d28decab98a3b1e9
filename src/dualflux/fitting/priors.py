"""Prior sds that data can settle: of the readout in the linear step, chosen by what members of a trial have not seen.

The trained readout was chosen on sites not trained on, so it is not the data it was fitted to that tell how far the linear step may
move it: they always ask for more. Data that were held out do. With hidden layers fixed all is linear and Gaussian, and the density of
what was held out given what was fitted is a ratio of evidences,

    log p(held | fitted) = E(held and fitted) - E(fitted),    E = b' L^-1 b / 2 - log det L / 2,

L = X' W X + P and b = X' W y + P m of the data in question, P and m the priors' precisions and means: what depends on the priors or on
the data alone cancels. Uncertainty of all unknowns is in it. Student-t weights are those at the solution of the fitted data in both.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from dualflux.fitting.linear_posterior import MemberProblem, Normals, estimate, solve
from dualflux.fitting.objective import Member
from dualflux.fitting.posterior_draws import LinearStep
from dualflux.model.flux_model import FluxModel

READOUT_SDS = (0.005, 0.01, 0.02, 0.04, 0.08)  # candidates


def log_evidence(problem: MemberProblem, normals: Normals, spread: np.ndarray, readout_sd: float) -> float:
    """E of some data [nats], up to what the data and the priors alone say.

    Parameters
    ----------
    normals : Normals
        Of the data.
    spread : array, (effect,)
        Sds of `MemberProblem.estimated`.
    """
    sd, readout = problem.sds(spread), problem.layout.place("readout")
    sd[readout] = readout_sd
    on = np.flatnonzero(sd > 0)
    values = np.sum([own[:, 0] for own in normals.values], axis=0)
    values[readout] += problem.trained[readout] / readout_sd**2
    factor = linalg.cho_factor(normals.matrix[np.ix_(on, on)] + np.diag(1 / sd[on] ** 2), lower=True)
    return float(values[on] @ linalg.cho_solve(factor, values[on]) / 2 - np.log(np.diag(factor[0])).sum())


def held_out_density(fitted: list[MemberProblem], every: list[MemberProblem], centre: np.ndarray) -> np.ndarray:
    """log p(held | fitted) of each of `READOUT_SDS`, (candidate, member), of a family's members.

    Parameters
    ----------
    fitted, every : list of MemberProblem
        Of each member: what it was fitted to, and that with what it held out.
    centre : array, (effect,)
        Where the estimation of the family's sds starts.
    """
    spread, normals = estimate(fitted, centre)
    found = []
    for one, other, own in zip(fitted, every, normals, strict=True):
        solution = solve(one, own, spread, draw=False)[0]
        less, more = one.normals(solution), other.normals(solution)
        found.append([log_evidence(other, more, spread, sd) - log_evidence(one, less, spread, sd) for sd in READOUT_SDS])
    return np.array(found).T


def readout_scores(step: LinearStep, model: FluxModel, members: Member, use: np.ndarray) -> np.ndarray:
    """The same of members of a trial, of one family, at positions `use`.

    Parameters
    ----------
    step : LinearStep
        Of the trial: its plans leave years out.
    model : FluxModel
        Trained members, stacked.
    """
    plans = [plan._replace(data={}) for plan in step.plans]
    without = {c.name: c.parts_without_held_out(members.parts[c.name]) for c in step.constraints}
    whole = {c.name: c.parts(plans) for c in step.constraints}
    each = [(step, without), (replace(step, plans=plans), whole)]
    fitted, every = (next(iter(one.problems(model, members._replace(parts=parts), use)))[1] for one, parts in each)
    layout = step.layout(model.network.readout.shape[-1])
    return held_out_density(fitted, every, step.centre(layout, members, use))


def with_sds(members: Member, sd: dict[str, Any]) -> Member:
    """Members with sds as training has estimated them, g's as it was stated."""
    own = {name: jnp.asarray(value) for name, value in sd.items() if name != "representativeness"}
    return members._replace(sd={**members.sd, **own})

"""The closing step of training: every member's linear parts become one draw of their exact posterior.

Training by random batches ends near the optimum of what it sees; regional means, amplitudes and the balance between f,
g and b are then set exactly, with every cell and month. Each member is a draw of the posterior (perturbed
data and priors; Papandreou and Yuille 2010, NIPS 23), antithetic in pairs, so that members spread as far as the posterior
does and average to its mean. The sds of the spatial effect and of g's slopes are estimated by empirical Bayes (Bishop 2006, ch. 3.5.1).
"""

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.linear_posterior import (
    INTERCEPT_SD,
    READOUT_SD,
    LinearData,
    MemberProblem,
    Normal,
    estimate,
    expected_flux,
    regional_normal,
    solve,
)  # fmt: skip
from dualflux.model import FluxModel, Network
from dualflux.spatial import HARMONICS, SpatialSettings
from dualflux.training import Member, RegionData, integrate_values


def integrate_features(network: Network, regions: RegionData) -> np.ndarray:
    """Integrals of every network's last hidden layer over every cell and step, (member, region, year, 12, feature).

    A month is summed in float32, as in upscaling.
    """
    found = jax.jit(lambda networks, data: jax.lax.map(lambda one: integrate_values(one.features, data), networks))
    return np.asarray(found(network, regions))


def close(
    model: FluxModel, members: Member, observed: np.ndarray, data: LinearData, regions: RegionData, settings: SpatialSettings,
    family: np.ndarray, seeds: list[tuple[int, ...]],
) -> tuple[FluxModel, np.ndarray]:  # fmt: skip
    """Replace every member's linear parts by a draw of their posterior.

    Parameters
    ----------
    model : FluxModel
        Trained members, stacked.
    members : Member
        Stacked, with `site_effect_sd` as estimated in training.
    observed : array, (member, region, year, 12)
        The inversions' mean that each member's draw scatters about [PgC month-1].
    family : array of int, (member,)
        Members that share estimated sds: those of a variant and fold, so that no data of a fold's sites enter.
    seeds : list of tuple of int, (member,)
        Seed of each member's draw and, last, its sign: one seed with both signs is an antithetic pair.

    Returns
    -------
    model : FluxModel
    spread : array, (member, 3)
        Estimated sd of u's lasting and seasonal part and of g's slopes [gC m-2 d-1].
    """
    integrals = integrate_features(model.network, regions)
    model = jax.tree.map(np.asarray, model)
    members = jax.tree.map(np.asarray, members._replace(key=members.site_effect_sd))
    at_towers = jax.jit(Network.features)
    rows = jnp.asarray(data.towers.predictors[data.order])
    parameters, spread = [np.empty(0)] * len(family), np.empty((len(family), 3))
    for name in np.unique(family):
        mine = np.flatnonzero(family == name)
        problems = []
        for i in mine:
            one, member = (jax.tree.map(lambda a, i=i: a[i], tree) for tree in (model, members))
            features = np.asarray(at_towers(one.network, rows), dtype=np.float64)
            regional = member_regional(member, integrals[i], observed[i], data)
            problems.append(member_problem(one, member, features, regional, data, settings, seeds[i]))
        slopes = float(members.representativeness_sd[mine[0]])
        spread[mine], towers = estimate(problems, np.array([settings.mean_sd, settings.season_sd, slopes]))
        for i, problem, normal in zip(mine, problems, towers, strict=True):
            parameters[i] = solve(problem, normal, spread[i], draw=True)[0]
    return with_parameters(model, np.stack(parameters), data.spatial), spread


def member_regional(member: Member, integrals: np.ndarray, observed: np.ndarray, data: LinearData) -> Normal:
    """Normal equations of a member's inversions over readout and u, tempered, of the years it uses."""
    width = integrals.shape[-1] + data.spatial
    if member.inversion_weight == 0:
        return Normal(np.zeros((width, width)), np.zeros((width, 2)))
    use = member.year_use > 0
    columns = np.concatenate([integrals[:, use], data.regional[:, use]], axis=-1).astype(np.float64)
    mean, anomaly, draw = (np.asarray(p, np.float64) for p in (member.mean_precision, member.anomaly_precision, member.target[:, use]))
    found = regional_normal(columns, observed[:, use], draw, mean, anomaly)
    weight = float(member.inversion_weight)  # R / weight: the draw's deviation grows by 1 / sqrt(weight)
    return Normal(weight * found.matrix, found.values * [weight, np.sqrt(weight)])


def member_problem(
    model: FluxModel, member: Member, features: np.ndarray, regional: Normal, data: LinearData, settings: SpatialSettings,
    seed: tuple[int, ...],
) -> MemberProblem:  # fmt: skip
    """What the posterior of one member is made of."""
    bumps, tower = data.spatial // HARMONICS, model.tower
    trained = np.concatenate([model.network.readout, np.zeros(data.spatial), [tower.intercept], tower.coefficient, tower.site_effect])
    on = float(member.representativeness_sd > 0)
    sd = np.concatenate([
        np.full(features.shape[1], READOUT_SD), np.full(bumps, settings.mean_sd), np.full(2 * bumps, settings.season_sd),
        [on * INTERCEPT_SD], np.full(len(tower.coefficient), member.representativeness_sd),
        np.full(len(tower.site_effect), member.site_effect_sd),
    ])  # fmt: skip
    trained = np.where(sd > 0, trained, 0.0)
    order, random = data.order, np.random.default_rng(seed[:-1])
    site_use = (member.site_use + member.site_validation)[data.towers.site[order]]
    use = member.tower_weight * site_use * data.towers.weight[order]
    noise = seed[-1] * random.standard_normal(len(order)), seed[-1] * random.standard_normal(len(sd))
    structural = np.exp(tower.log_error_floor) + np.exp(tower.log_error_growth) * np.abs(expected_flux(data, features, trained))
    scale = np.sqrt(data.towers.uncertainty[order].astype(np.float64) ** 2 + structural**2)
    return MemberProblem(data, features, trained, sd, use.astype(np.float64), scale, regional, *noise)


def with_parameters(model: FluxModel, parameters: np.ndarray, spatial: int) -> FluxModel:
    """The members with other linear parts, (member, parameter) in the order of `linear_posterior`."""
    width, invariant = model.network.readout.shape[-1], model.tower.coefficient.shape[-1]
    ends = np.cumsum([width, spatial, 1, invariant])
    readout, effect, intercept, slopes, sites = (jnp.asarray(p, jnp.float32) for p in np.split(parameters, ends, axis=1))
    tower = type(model.tower)(intercept[:, 0], slopes, sites, model.tower.log_error_floor, model.tower.log_error_growth)
    return FluxModel(model.network.with_readout(readout), tower, effect.reshape(len(parameters), HARMONICS, -1))

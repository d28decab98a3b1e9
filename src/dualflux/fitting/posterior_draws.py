"""The closing step of training: every member's linear parts become one draw of their exact posterior.

Training by random batches ends near the optimum of what it sees; regional means, amplitudes and the balance between f,
g and b are then set exactly, with every cell and month. Each member is a draw of the posterior (perturbed
data and priors; Papandreou and Yuille 2010, NIPS 23), antithetic in pairs, so that members spread as far as the posterior
does and average to its mean. The sds of the spatial effect and of g's slopes are estimated by empirical Bayes (Bishop 2006, ch. 3.5.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.inversions.integrals import RegionData, integrate_values
from dualflux.fitting.linear_posterior import (
    INTERCEPT_SD,
    READOUT_SD,
    LinearData,
    MemberProblem,
    Normal,
    estimate,
    expected_flux,
    regional_normal,
    solve,
)
from dualflux.fitting.objective import Member
from dualflux.fitting.parallel import Lanes, Program, unstack
from dualflux.model.flux_model import FluxModel, Network
from dualflux.model.spatial_effect import HARMONICS, SpatialBasis, SpatialSettings


def integrate_features(network: Network, regions: RegionData) -> np.ndarray:
    """Integrals of every network's last hidden layer over every cell and step, (member, region, year, 12, feature).

    A month is summed in float32, as in upscaling; each core takes another member.
    """
    lanes = Lanes()
    found = lanes.map(_INTEGRATE, lanes.share(regions), unstack(network))
    return np.stack(found)


_INTEGRATE: Program[jax.Array] = Program(lambda regions, network: integrate_values(network.features, regions))


@dataclass(frozen=True)
class LinearStep:
    """The linear problems of all members.

    Attributes
    ----------
    basis : SpatialBasis
    observed : array, (member, region, year, 12)
        The inversions' mean that each member's draw scatters about [PgC month-1].
    data : LinearData
    regions : RegionData
    settings : SpatialSettings
    family : array of int, (member,)
        Members that share estimated sds: those of a variant and fold, so that no data of a fold's sites enter.
    seeds : list of tuple of int, (member,)
        Seed of each member's draw and, last, its sign: one seed with both signs is an antithetic pair.
    """

    basis: SpatialBasis
    observed: np.ndarray
    data: LinearData
    regions: RegionData
    settings: SpatialSettings
    family: np.ndarray
    seeds: list[tuple[int, ...]]

    def problems(self, model: FluxModel, members: Member, use: np.ndarray) -> Iterator[tuple[np.ndarray, list[MemberProblem]]]:
        """Every family among the members in `use` (positions, maybe none): its members' positions and problems."""
        if not len(use):
            return
        model, members = (
            jax.tree.map(lambda a: np.asarray(a)[use], tree) for tree in (model, members._replace(key=members.site_effect_sd))
        )
        integrals = integrate_features(model.network, self.regions)
        at_towers, rows = jax.jit(Network.features), jnp.asarray(self.data.towers.predictors[self.data.order])
        for name in np.unique(self.family[use]):
            found = []
            for i in np.flatnonzero(self.family[use] == name):
                one, member = (jax.tree.map(lambda a, i=i: a[i], tree) for tree in (model, members))
                features = np.asarray(at_towers(one.network, rows), dtype=np.float64)
                regional = member_regional(member, integrals[i], self.observed[use[i]], self.data)
                found.append(member_problem(one, member, features, regional, self.data, self.settings, self.seeds[use[i]]))
            yield use[self.family[use] == name], found

    def centre(self, members: Member, mine: np.ndarray) -> np.ndarray:
        """Where the estimation of a family's sds starts, (3,)."""
        return np.array([self.settings.mean_sd, self.settings.season_sd, float(members.representativeness_sd[mine[0]])])


def close(step: LinearStep, model: FluxModel, members: Member) -> tuple[FluxModel, np.ndarray]:
    """Replace every member's linear parts by a draw of their posterior.

    Parameters
    ----------
    step : LinearStep
    model : FluxModel
        Trained members, stacked.
    members : Member
        Stacked, with `site_effect_sd` as estimated in training.

    Returns
    -------
    model : FluxModel
    spread : array, (member, 3)
        Estimated sd of u's lasting and seasonal part and of g's slopes [gC m-2 d-1].
    """
    count = len(step.family)
    parameters, spread = [np.empty(0)] * count, np.empty((count, 3))
    for mine, problems in step.problems(model, members, np.arange(count)):
        spread[mine], towers = estimate(problems, step.centre(members, mine))
        for i, problem, normal in zip(mine, problems, towers, strict=True):
            parameters[i] = solve(problem, normal, spread[i], draw=True)[0]
    return with_parameters(jax.tree.map(np.asarray, model), np.stack(parameters), step.data.spatial), spread


def renew_representativeness(step: LinearStep, model: FluxModel, members: Member) -> np.ndarray:
    """Prior sd of g's slopes as the members in training have it now, (member,); 0 where g is off.

    g is trained with a stated sd at first. Estimated once more while training goes on, it leaves to f what
    towers share with their landscape.
    """
    found = np.array(members.representativeness_sd)
    for mine, problems in step.problems(model, members, np.flatnonzero(found > 0)):
        found[mine] = estimate(problems, step.centre(members, mine))[0][2]
    return found


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

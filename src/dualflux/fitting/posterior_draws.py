"""Posterior draws of the linear parts: where training ends.

Training by random batches ends near the optimum of what it sees; regional means, amplitudes and the balance between f,
g and b are then set exactly, with every cell and month. Each member is a draw of the posterior (perturbed
data and priors; Papandreou and Yuille 2010, NIPS 23), antithetic in pairs, so that members spread as far as the posterior
does and average to its mean. The sds of the spatial effect and of g's slopes are estimated by empirical Bayes (Bishop 2006, ch. 3.5.1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.areas import Walk, deal_out, integrate_values, walk_of
from dualflux.constraints.base import Constraint, Landscape, Layout, Linear, LinearMember, Plan, generator
from dualflux.cube import DeviceCube
from dualflux.fitting.anomaly_elimination import AnomalyProblem
from dualflux.fitting.identifiability import effect_variances
from dualflux.fitting.linear_posterior import MemberProblem, draw_member, effects_of_flux, estimate, solve
from dualflux.fitting.objective import Member
from dualflux.fitting.parallel import Parallel, Program, unstack
from dualflux.model.anomaly_effect import AnomalyPrior
from dualflux.model.flux_model import FluxModel, Network, Representativeness
from dualflux.model.spatial_effect import HARMONICS, SpatialSettings
from dualflux.model.time_effect import ZONES


def integrate_features(network: Network, walk: Walk) -> np.ndarray:
    """Integrals of every network's last hidden layer over every cell and step, (member, area, ..., feature).

    A month is summed in float32, as in upscaling; each core takes another member.
    """
    parallel = Parallel()
    found = parallel.map(_INTEGRATE, parallel.share(walk), unstack(network))
    return np.stack(found)


_INTEGRATE: Program[jax.Array] = Program(lambda walk, network: integrate_values(network.features, walk))


@dataclass(frozen=True)
class LinearStep:
    """The linear problems of all members.

    Attributes
    ----------
    landscape : Landscape
    constraints : sequence of Constraint
    linear : list of Linear
        The constraints in this step.
    cube : DeviceCube
    settings : SpatialSettings
    plans : sequence of Plan
        One of each member.
    family : array of int, (member,)
        Members that share estimated sds: those of a variant and fold, so that no data of a fold's sites enter.
    seeds : list of tuple of int, (member,)
        Seed of each member's draw and, last, its sign: one seed with both signs is an antithetic pair.
    series_sd : float
        Prior sd of the coefficients of predictors of time alone [gC m-2 d-1], of members that inversions constrain: it is chosen on these.
    anomaly : AnomalyPrior or None
        Of what no predictor carries of regions and months, of members that see regional anomalies; None leaves it out.
    """

    landscape: Landscape
    constraints: Sequence[Constraint]
    linear: list[Linear]
    cube: DeviceCube
    settings: SpatialSettings
    plans: Sequence[Plan]
    family: np.ndarray
    seeds: list[tuple[int, ...]]
    series_sd: float
    anomaly: AnomalyPrior | None = None

    @classmethod
    def create(
        cls, landscape: Landscape, constraints: Sequence[Constraint], cube: DeviceCube, settings: SpatialSettings,
        plans: Sequence[Plan], family: np.ndarray, seeds: list[tuple[int, ...]], series_sd: float = 0.0,
        anomaly: AnomalyPrior | None = None,
    ) -> "LinearStep":  # fmt: skip
        """Ask every constraint for its equations."""
        linear = [c.linear(landscape) for c in constraints]
        return cls(landscape, constraints, linear, cube, settings, plans, family, seeds, series_sd, anomaly)

    def layout(self, width: int) -> Layout:
        """All unknowns: those of the model, then what constraints bring along; a name stands once, whoever loads on it."""
        cube, places = self.landscape.cube, self.landscape.basis.size
        of_flux = effects_of_flux(width, places, cube.columns.invariant, self.settings, cube.series.shape[1], self.series_sd)
        brought = {e.name: e for c in self.constraints for e in c.effects()}
        return Layout((*of_flux, *brought.values()))

    def problems(self, model: FluxModel, members: Member, use: np.ndarray) -> Iterator[tuple[np.ndarray, list[MemberProblem]]]:
        """Every family among the members in `use` (positions, maybe none): its members' positions and problems."""
        if not len(use):
            return
        model, parts, sd = (jax.tree.map(lambda a: np.asarray(a)[use], tree) for tree in (model, members.parts, members.sd))
        integrals = self._integrals(model.network)
        for name in np.unique(self.family[use]):
            found = []
            for i in map(int, np.flatnonzero(self.family[use] == name)):
                one, own, sizes = (jax.tree.map(lambda a, i=i: a[i], tree) for tree in (model, parts, sd))
                columns = [self._columns(linear, one, each, i) for linear, each in zip(self.linear, integrals, strict=True)]
                found.append(self._problem(one, own, sizes, columns, int(use[i])))
            yield use[self.family[use] == name], found

    def _integrals(self, network: Network) -> list[np.ndarray | None]:
        """Of every constraint that integrates, (member, area, month, feature); one walk over the cube for all of them."""
        wanted = [linear.areas for linear in self.linear if linear.areas is not None]
        if not wanted:
            return [None] * len(self.linear)
        walk, month = walk_of(self.cube, self.landscape.cube.steps, wanted)
        found = integrate_features(network, walk)
        dealt = iter(zip(*(deal_out(one, month, wanted) for one in found), strict=True))
        return [None if linear.areas is None else np.stack(next(dealt)) for linear in self.linear]

    def _columns(self, linear: Linear, model: FluxModel, integrals: np.ndarray | None, member: int) -> np.ndarray:
        if integrals is not None:
            return integrals[member]
        return np.asarray(_FEATURES(model.network, jnp.asarray(linear.rows)), dtype=np.float64)

    def _problem(
        self, model: FluxModel, parts: dict[str, Any], sd: dict[str, Any], columns: list[np.ndarray], member: int
    ) -> MemberProblem:  # fmt: skip
        """What the posterior of one member is made of."""
        layout, seed = self.layout(model.network.readout.shape[-1]), self.seeds[member]
        own_sd = {name: float(value) for name, value in sd.items()}
        if self.plans[member].weight("inversions") == 0:
            own_sd["series"] = 0.0
        prior_sd = self._prior_sd(layout, own_sd)
        trained = np.where(prior_sd > 0, self.trained(model, layout), 0.0)
        equations, years = [], self.anomaly_years(member)
        for constraint, linear, own in zip(self.constraints, self.linear, columns, strict=True):
            kept = model.own.get(constraint.name)
            random = generator(seed[:-1], constraint.name)
            view = LinearMember(kept, parts[constraint.name], sd, own, layout, trained, self.plans[member], random, seed[-1], years)
            equations.append(linear.equations(view))
        noise = np.concatenate([generator(seed[:-1], e.name).standard_normal(e.size) for e in layout.effects])
        alone = None if years is None or self.anomaly is None else AnomalyProblem.create(self.anomaly, years, seed)
        return MemberProblem(layout, trained, prior_sd, equations, seed[-1] * noise, seed[-1], alone)

    def anomaly_years(self, member: int) -> np.ndarray | None:
        """Years whose regional anomalies are unknowns of a member; None: it has none."""
        if self.anomaly is None:
            return None
        seen = [years for c in self.constraints if (years := c.anomaly_years(self.plans[member])) is not None]
        return seen[0] if seen else None

    @staticmethod
    def _prior_sd(layout: Layout, sd: dict[str, float]) -> np.ndarray:
        """Of every unknown, (unknown,): a member's own where it has one by the effect's name; g's mean is on where its slopes are."""
        on = float(sd["representativeness"] > 0)
        own = {**sd, "representativeness_mean": on * layout.effects[[e.name for e in layout.effects].index("representativeness_mean")].sd}
        return np.concatenate([np.full(e.size, own.get(e.name, e.sd)) for e in layout.effects])

    @staticmethod
    def trained(model: FluxModel, layout: Layout) -> np.ndarray:
        """Unknowns as training left them, (unknown,); 0 for those it does not know."""
        found = np.zeros(layout.size)
        known = {"readout": model.network.readout, **_of_g(model.representativeness)}
        for kept in model.own.values():
            known |= kept._asdict()
        for effect in layout.effects:
            if effect.name in known:
                found[layout.place(effect.name)] = known[effect.name]
        return found

    def centre(self, layout: Layout, members: Member, mine: np.ndarray) -> np.ndarray:
        """Where the estimation of a family's sds starts, (effect,)."""
        sd = {name: float(value[mine[0]]) for name, value in members.sd.items()}
        return np.array([sd.get(e.name, e.sd) for e in layout.effects if e.estimate is not None])


_FEATURES = jax.jit(Network.features)


def _of_g(g: Representativeness) -> dict[str, Any]:
    return {"representativeness_mean": g.intercept, "representativeness": g.coefficient}


class Drawn(NamedTuple):
    """Members with their linear parts drawn.

    Attributes
    ----------
    model : FluxModel
    spread : dict of str to array, (member,)
        Estimated sds of effects: of u's lasting and seasonal part and of g's slopes [gC m-2 d-1].
    anomalies : list of array (year, region, 12), or None, (member,)
        Of the fitted years [gC m-2 d-1]; None: the member has none.
    variances : list of dict, (member,)
        By effect, what the data say of it, see `identifiability.effect_variances`.
    """

    model: FluxModel
    spread: dict[str, np.ndarray]
    anomalies: list[np.ndarray | None]
    variances: list[dict[str, tuple[int, float, float]]]


def draw_posterior(step: LinearStep, model: FluxModel, members: Member) -> Drawn:
    """Replace every member's linear parts by a draw of their posterior.

    Parameters
    ----------
    step : LinearStep
    model : FluxModel
        Trained members, stacked.
    members : Member
        Stacked, with the sds of effects as estimated in training.
    """
    count = len(step.family)
    layout = step.layout(model.network.readout.shape[-1])
    names = [e.name for e in layout.effects if e.estimate is not None]
    parameters, spread, anomalies = [np.empty(0)] * count, np.empty((count, len(names))), list[np.ndarray | None]([None] * count)
    variances = [dict[str, tuple[int, float, float]]()] * count
    for mine, problems in step.problems(model, members, np.arange(count)):
        spread[mine], normals = estimate(problems, step.centre(layout, members, mine))
        for i, problem, normal in zip(mine, problems, normals, strict=True):
            mean, posterior = solve(problem, normal, spread[i], draw=False)
            variances[i] = effect_variances(layout, problem.sds(spread[i]), posterior)
            whole = draw_member(problem, problem.whole(normal, mean), spread[i], generator(step.seeds[i][:-1], "weights"))
            parameters[i] = whole[: layout.size]
            if problem.anomaly is not None:
                anomalies[i] = whole[layout.size :].reshape(-1, len(step.landscape.cells.region_names), 12)
    drawn = with_parameters(jax.tree.map(np.asarray, model), np.stack(parameters), layout)
    return Drawn(drawn, dict(zip(names, spread.T, strict=True)), anomalies, variances)


def renew_representativeness(step: LinearStep, model: FluxModel, members: Member) -> np.ndarray:
    """Prior sd of g's slopes as the members in training have it now, (member,); 0 where g is off.

    g is trained with a stated sd at first. Estimated once more while training goes on, it leaves to f what
    towers share with their landscape. Regional anomalies are left out of it: they hardly touch a difference between places.
    """
    step = replace(step, anomaly=None)
    found = np.array(members.sd["representativeness"])
    layout = step.layout(model.network.readout.shape[-1])
    place = [e.name for e in layout.effects if e.estimate is not None].index("representativeness")
    for mine, problems in step.problems(model, members, np.flatnonzero(found > 0)):
        found[mine] = estimate(problems, step.centre(layout, members, mine))[0][place]
    return found


def with_parameters(model: FluxModel, parameters: np.ndarray, layout: Layout) -> FluxModel:
    """The members with other linear parts, (member, unknown)."""

    def of(name: str) -> jax.Array:
        return jnp.asarray(parameters[:, layout.place(name)], jnp.float32)

    known = {e.name for e in layout.effects}
    own = {c: kept._replace(**{f: of(f) for f in kept._fields if f in known}) for c, kept in model.own.items()}
    parts = [of(f"spatial_{part}") for part in ("lasting", "seasonal", "shape")]
    effect = jnp.concatenate(parts, axis=1).reshape(len(parameters), HARMONICS, -1)
    g = Representativeness(of("representativeness_mean")[:, 0], of("representativeness"))
    flat = of("series")
    series = flat.reshape(len(parameters), flat.shape[1] // len(ZONES), len(ZONES))
    return FluxModel(model.network.with_readout(of("readout")), g, own, effect, series)

"""What a constraint is: the one interface of everything that has seen the flux.

A constraint is (points, linear operator, data, error). Training asks it for a loss, for what it thinks of data that a
member has not seen, and for the sizes of its effects; the linear step asks it for normal equations. It sees the flux only through `Flux`:
it knows no network. Whoever fits (`fitting`) loops over a list of constraints and knows none by heart.

An unknown that enters linearly is an `Effect`. One name is one set of unknowns, whoever loads on it: two constraints with a
common error name the same effect.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import equinox as eqx
import jax
import numpy as np

from dualflux.constraints.areas import Areas
from dualflux.cube import Cube
from dualflux.grid import LandCells
from dualflux.model.spatial_effect import SpatialBasis
from dualflux.variants import Variant


class Flux(Protocol):
    """What a constraint may know of a member: its fluxes at predictors, and what the constraint itself keeps there."""

    own: dict[str, Any]

    def landscape(self, predictors: jax.Array) -> jax.Array:
        """f [gC m-2 d-1], (...), at predictors (..., predictor)."""
        ...

    def fluxes(self, predictors: jax.Array) -> tuple[jax.Array, jax.Array]:
        """f and f + g [gC m-2 d-1], (...) each, at predictors (..., predictor)."""
        ...


@dataclass(frozen=True)
class Effect:
    """Gaussian unknowns of zero mean that enter linearly.

    Attributes
    ----------
    name : str
    where : {"flux", "tower_like", "nuisance"}
        Part of f; of f + g; or only in what constraints see.
    size : int
    sd : float
        Prior sd, where a member has none of its own by this name; 0 switches the effect off.
    estimate : {"centred", "marginal"} or None
        How the sd is estimated from the data (see `fitting.linear_posterior`); None: it is as stated.
    diagonal : bool
        Its unknowns meet each other in no datum, so they are eliminated first.
    loading : mapping of str to array
        For an effect that several share: what an observation of each constraint, by name, sees of it, (..., size).
    """

    name: str
    where: Literal["flux", "tower_like", "nuisance"]
    size: int
    sd: float = 0.0
    estimate: Literal["centred", "marginal"] | None = None
    diagonal: bool = False
    loading: Mapping[str, np.ndarray] = field(default_factory=dict)


def generator(seed: Sequence[int], name: str) -> np.random.Generator:
    """Random numbers that belong to a name: a constraint or effect more changes no other's draws."""
    return np.random.default_rng([*seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Layout:
    """Where the unknowns of all effects stand in one vector."""

    effects: tuple[Effect, ...]

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return sum(e.size for e in self.effects)

    def place(self, name: str) -> slice:
        """The unknowns of one effect."""
        before = 0
        for effect in self.effects:
            if effect.name == name:
                return slice(before, before + effect.size)
            before += effect.size
        raise KeyError(name)

    def places(self, names: Sequence[str]) -> np.ndarray:
        """Positions of the unknowns of several effects, in the order of the names."""
        return np.concatenate([np.arange(self.size)[self.place(name)] for name in names])

    def of_flux(self) -> list[str]:
        """Effects that belong to f."""
        return [e.name for e in self.effects if e.where == "flux"]

    def shared_by(self, constraint: str) -> list[Effect]:
        """Effects that a constraint loads on by name."""
        return [e for e in self.effects if constraint in e.loading]


class Plan(NamedTuple):
    """One member to be fitted.

    Attributes
    ----------
    run : str
        What is left out; empty for the study itself.
    variant : Variant
    fold, member : int
        Fold that it does not see (-1: it sees all) and its number there.
    members : int
        Per fold.
    place, total : int
        Its position among the members of its run and variant, and their number.
    data : mapping
        Observations by constraint, without what is left out.
    weights : mapping of str to float
        Tempering power of a constraint's likelihood, 1 where not named.
    seed : int
    draw : bool
        Take a draw of the data's error; False: the data as they are.
    """

    run: str
    variant: Variant
    fold: int
    member: int
    members: int
    place: int
    total: int
    data: Mapping[str, Any]
    weights: Mapping[str, float]
    seed: int
    draw: bool = True

    def weight(self, constraint: str) -> float:
        """Power of a constraint's likelihood; 0 where the variant does without it."""
        return self.weights.get(constraint, 1.0) if constraint in self.variant.constraints else 0.0


class AnomalyPart(NamedTuple):
    """What a constraint's normal equations say of a member's regional anomalies, (year, region, 12) flattened.

    Attributes
    ----------
    couple : array, (year x n, k)
        With the unknowns of `Normal.place`, n = region x 12.
    values : array, (year x n, 2)
        Right-hand sides, as in `Normal`.
    blocks : array, (year, n, n)
        Among those of a year: in no datum do years meet.
    """

    couple: np.ndarray
    values: np.ndarray
    blocks: np.ndarray


class Normal(NamedTuple):
    """Part of the normal equations: those of some of the unknowns.

    Attributes
    ----------
    place : array of int, (k,)
        Positions among all unknowns.
    matrix : array, (k, k)
    values : array, (k, 2)
        Right-hand sides of the data as they are, and of a draw of their errors.
    anomaly : callable or None
        Gives the part of regional anomalies, where the member has any.
    """

    place: np.ndarray
    matrix: np.ndarray
    values: np.ndarray
    anomaly: Callable[[], AnomalyPart] | None = None


class Landscape(NamedTuple):
    """Where a constraint's unknowns lie: time, cells and the basis of the spatial effect u."""

    cube: Cube
    cells: LandCells
    basis: SpatialBasis


class LinearMember(NamedTuple):
    """A member as a constraint's linear equations see it; arrays of the host.

    Attributes
    ----------
    own : pytree
        What the constraint keeps in the model.
    part : pytree
        Of the constraint.
    sd : dict of str to float
        Prior sds by effect.
    columns : array
        What the readout multiplies: at the constraint's rows (row, column), or integrated over its areas and months (area, month, column).
    layout : Layout
    trained : array, (unknown,)
        Where training ended.
    plan : Plan
    random : Generator
        For a draw of the data's errors.
    sign : float
        Of the draw: antithetic pairs share all but this.
    anomaly_years : array of int, (year,), or None
        Whole years that have regional anomalies as unknowns; at a solution they stand behind all others. None: there are none.
    """

    own: Any
    part: Any
    sd: dict[str, float]
    columns: np.ndarray
    layout: Layout
    trained: np.ndarray
    plan: Plan
    random: np.random.Generator
    sign: float
    anomaly_years: np.ndarray | None = None


class Draw(NamedTuple):
    """How weights of heavy-tailed data and errors are drawn.

    Attributes
    ----------
    random : Generator
    sign : float
        Of the errors; antithetic pairs share all but this.
    """

    random: np.random.Generator
    sign: float


class Equations(Protocol):
    """Normal equations at a solution: weights of heavy-tailed data are what is expected of them there, or drawn given it."""

    def __call__(self, parameters: np.ndarray, draw: Draw | None = None) -> Normal:
        """Of all unknowns' values (unknown,)."""
        ...


class Linear(Protocol):
    """A constraint in the linear step.

    Attributes
    ----------
    areas : Areas or None
        What is integrated for it, in one walk over the cube for all constraints.
    rows : array float32, (row, predictor), or None
        Predictors of its own points.
    """

    @property
    def areas(self) -> Areas | None: ...

    @property
    def rows(self) -> np.ndarray | None: ...

    def equations(self, member: LinearMember) -> Equations:
        """Normal equations of one member."""
        ...


Term = Callable[[Any], jax.Array]  # of a member's model


class Constraint(eqx.Module):
    """One source of knowledge, as training sees it: arrays are on the device, shared by all members.

    What differs between members is a `part`, a pytree of arrays of equal shapes. A method whose default stands here needs to be
    written only where a constraint has something to say.
    """

    name: ClassVar[str]
    label: ClassVar[str]  # in words, for reports

    @staticmethod
    def check_lines(data: Any) -> list[str]:
        """What a study has of it, in words for `dualflux check`: the first line says how much, the last what a first screen shows too."""
        return []

    @property
    def size(self) -> float:
        """Effective number of data."""
        return 1.0

    def parameters(self) -> Any:
        """What the constraint keeps in a fresh member: a named tuple of arrays; a field with the name of an effect holds its unknowns."""
        return ()

    def effects(self) -> tuple[Effect, ...]:
        """Nuisance effects that it brings along."""
        return ()

    def anomaly_years(self, plan: Plan) -> np.ndarray | None:
        """Whole years whose regional anomalies it sees in a member, (year,); None: it sees none, or not enough to tell them."""
        return None

    def parts(self, plans: Sequence[Plan]) -> Any:
        """What differs between members, with a leading member axis."""
        raise NotImplementedError

    def parts_without_held_out(self, parts: Any) -> Any:
        """Parts whose linear equations do without what a member holds out inside its fold: the field `validation`, where a part has one."""
        return parts._replace(validation=np.zeros_like(parts.validation)) if "validation" in getattr(parts, "_fields", ()) else parts

    def parts_in_training(self, parts: Any, plans: Sequence[Plan]) -> Any:
        """The same where training has an error of its own, which the linear step has not."""
        return parts

    def never_updated(self) -> dict[str, float]:
        """Sds, by name, of what has a stated prior and is drawn from it for every member: no data change it."""
        return {}

    def effect_sd(self, plan: Plan) -> dict[str, float]:
        """Prior sd of its effects in a member, until data say more."""
        return {effect.name: effect.sd for effect in self.effects()}

    def term(self, part: Any, sd: dict[str, jax.Array], key: jax.Array, control: Any) -> tuple[jax.Array, Term]:
        """Weight and negative log-likelihood: an unbiased estimate from one random batch.

        Parameters
        ----------
        part : pytree
            Of one member.
        sd : dict of str to array, ()
            Prior sds of effects; 0: off.
        key : PRNG key
        control : Control or None
            An earlier state of the member with what was exact there, see `Constraint.control`.
        """
        raise NotImplementedError

    def negative_log_prior(self, model: Flux, sd: dict[str, jax.Array]) -> jax.Array | float:
        """Of what it keeps in the model."""
        return 0.0

    def control(self, model: Flux, part: Any) -> Any:
        """What is known exactly of a member's present state, for a control variate; None: nothing is sampled that needs one."""
        return None

    @property
    def sampled(self) -> bool:
        """Whether `term` uses a control variate."""
        return False

    def score(self, model: Flux, part: Any, sd: dict[str, jax.Array]) -> Any:
        """A named tuple of arrays without randomness: what training notes of a member now and then."""
        return ()

    def criterion(self, scores: Any, parts: Any) -> float:
        """Negative log density of what members have not seen (or their misfit), summed over them [nats]: stopping."""
        return 0.0

    def history(self, scores: Any) -> dict[str, float]:
        """Columns of the training history, of some members."""
        return {}

    def estimated_sd(self, scores: Any, parts: Any, sd: dict[str, np.ndarray], family: np.ndarray) -> dict[str, np.ndarray]:
        """Prior sds (member,) of its effects as the scores suggest; members of a family share theirs."""
        return {}

    def held_out(self, scores: Any, models: Any, parts: Any, everything: Any) -> np.ndarray | float:
        """Negative log density of data that members were not given, `everything` being all data: the choice of weights.

        (member,); or (member, unit), a column for each of several independent units that all members were not given, such as years.
        Normalised, and under the member's own weight: see `inversions.held_out`.
        """
        return 0.0

    def in_training(self) -> Any:
        """What of the constraint itself changes while members are trained (pytree); None: nothing."""
        return None

    def going_on(self, changed: Any) -> "Constraint":
        """The constraint with what `in_training` gave."""
        return self

    def renewed(self, models: Any, controls: Any, parts: Any) -> "Constraint":
        """The constraint as members make it, at the time of a control variate."""
        return self

    def linear(self, landscape: Landscape) -> Linear:
        """The constraint in the linear step."""
        raise NotImplementedError

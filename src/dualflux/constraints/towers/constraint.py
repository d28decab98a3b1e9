"""Towers in training: a heavy-tailed error, site effects b, and inner validation sites that stop training.

A tower's flux is y(s, t) = f(x(s, t)) + g(x(s)) + b(s) + e with Student-t errors e whose scale is the datum's uncertainty and a fitted
floor plus growth with the size of the flux.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.base import Constraint, Effect, Flux, Landscape, Plan, Term
from dualflux.constraints.towers.equations import TowerEquations
from dualflux.constraints.towers.folds import inner_validation
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings, check_lines

INNER_SHARE = 0.2
INITIAL_SITE_EFFECT_SD = 1.0  # gC m-2 d-1, until the first scores estimate it
SMALLEST_SITE_EFFECT_SD = 0.05  # gC m-2 d-1


class TowerParameters(NamedTuple):
    """What towers keep beside the flux.

    Attributes
    ----------
    site_effect : array, (site,)
        b [gC m-2 d-1].
    log_error_floor, log_error_growth : array, ()
        The error's scale is `exp(log_error_floor) + exp(log_error_growth) |flux|`.
    """

    site_effect: jax.Array
    log_error_floor: jax.Array
    log_error_growth: jax.Array


class TowerPart(NamedTuple):
    """What differs between members.

    Attributes
    ----------
    use : array, (site,)
        Weight of each site in training; 0 for the sites of its fold and of its inner validation.
    validation : array, (site,)
        1 for the inner validation sites.
    validation_rows : array of int, (row,)
        All rows of the inner validation sites; -1 stands for none.
    weight : array, ()
        0 leaves towers out.
    """

    use: jax.Array
    validation: jax.Array
    validation_rows: jax.Array
    weight: jax.Array


class TowerScore(NamedTuple):
    """Sums over inner validation sites; a sum over rows is divided by `validation_weight` where it is used.

    `site_residual` and `site_noise`, (site,), are those of inner validation sites and 0 at others.
    """

    validation_loss: jax.Array
    validation_weight: jax.Array
    validation_square: jax.Array
    site_residual: jax.Array
    site_noise: jax.Array


class Towers(Constraint):
    """Point observations on the device; `data` are the same with their sites and times."""

    name: ClassVar[str] = "towers"
    label: ClassVar[str] = "eddy covariance towers"

    predictors: jax.Array
    site: jax.Array
    observed: jax.Array
    uncertainty: jax.Array
    row_weight: jax.Array
    degrees_of_freedom: float
    batch: int = eqx.field(static=True)
    site_effects: bool = eqx.field(static=True)
    data: TowerConstraint = eqx.field(static=True)

    @classmethod
    def create(cls, data: TowerConstraint, settings: TowerTermSettings, batch: int) -> "Towers":
        """Move observations to the device.

        Parameters
        ----------
        batch : int
            Observations per training step.
        """
        return cls(
            jnp.asarray(data.predictors), jnp.asarray(data.site), jnp.asarray(data.observed), jnp.asarray(data.uncertainty),
            jnp.asarray(data.weight), settings.degrees_of_freedom, batch, settings.site_effects, data,
        )  # fmt: skip

    @staticmethod
    def check_lines(data: pd.DataFrame) -> list[str]:
        """Sites, rows, years of the observations."""
        return check_lines(data)

    @property
    def size(self) -> float:
        """Effective number of data."""
        return float(self.row_weight.sum())

    def parameters(self) -> TowerParameters:
        """No site effect; an error of 0.5 gC m-2 d-1 + 20 %."""
        return TowerParameters(jnp.zeros(len(self.data.sites)), jnp.log(jnp.asarray(0.5)), jnp.log(jnp.asarray(0.2)))

    def effects(self) -> tuple[Effect, ...]:
        """b: one zero-mean effect per site."""
        return (Effect("site_effect", "nuisance", len(self.data.sites), INITIAL_SITE_EFFECT_SD, diagonal=True),)

    def effect_sd(self, plan: Plan) -> dict[str, float]:
        """b's prior sd; 0 where the variant or the study goes without."""
        return {"site_effect": INITIAL_SITE_EFFECT_SD if plan.variant.site_effects and self.site_effects else 0.0}

    def parts(self, plans: Sequence[Plan]) -> TowerPart:
        """Sites of each member."""
        use, held = (np.stack(sites).astype(np.float32) for sites in zip(*(self._sites_of(p) for p in plans), strict=True))
        weight = np.array([p.weight(self.name) for p in plans], np.float32)
        rows = validation_rows(held, np.asarray(self.site))
        return TowerPart(jnp.asarray(use), jnp.asarray(held), jnp.asarray(rows), jnp.asarray(weight))

    def _sites_of(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """Sites a member trains on, and those of its inner validation."""
        group, outer = self.data.sites.group.to_numpy(), self.data.sites.fold.to_numpy()
        if not plan.variant.towers:
            return np.zeros(len(group)), np.zeros(len(group))
        held = inner_validation(group, outer, plan.fold, plan.member, min(INNER_SHARE, 1 / plan.members), plan.seed)
        return ((outer != plan.fold) & ~held).astype(float), held.astype(float)

    def term(self, part: TowerPart, sd: dict[str, jax.Array], key: jax.Array, control: Any) -> tuple[jax.Array, Term]:
        """Sum over training sites, estimated from a batch of rows and the sum of weights."""
        rows, total = self.draw_rows(part.use, key)  # here, sums over all rows leave the loop over steps
        return part.weight, lambda model: total * self.losses(model, rows, sd).mean()

    def draw_rows(self, use: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Rows drawn in proportion to their weight (systematic, so each site has its share), and the sum of weights."""
        cumulative = jnp.cumsum(use[self.site] * self.row_weight)
        total = cumulative[-1]
        points = (jnp.arange(self.batch) + jax.random.uniform(key)) / self.batch * total
        return jnp.minimum(jnp.searchsorted(cumulative, points, side="right"), len(cumulative) - 1), total

    def losses(self, model: Flux, rows: jax.Array, sd: dict[str, jax.Array]) -> jax.Array:
        """Student-t negative log density of the given rows, (row,), without constants."""
        own: TowerParameters = model.own[self.name]
        expected = self.expected(model, rows, sd)
        expected = expected + jnp.where(sd["site_effect"] > 0, own.site_effect[self.site[rows]], 0.0)
        structural = jnp.exp(own.log_error_floor) + jnp.exp(own.log_error_growth) * jax.lax.stop_gradient(jnp.abs(expected))
        scale = jnp.sqrt(self.uncertainty[rows] ** 2 + structural**2)
        nu = self.degrees_of_freedom
        return (nu + 1) / 2 * jnp.log1p(((self.observed[rows] - expected) / scale) ** 2 / nu) + jnp.log(scale)

    def expected(self, model: Flux, rows: jax.Array, sd: dict[str, jax.Array]) -> jax.Array:
        """f + g, or f where a member goes without g [gC m-2 d-1], (row,)."""
        landscape, tower_like = model.fluxes(self.predictors[rows])
        return jnp.where(sd["representativeness"] > 0, tower_like, landscape)

    def negative_log_prior(self, model: Flux, sd: dict[str, jax.Array]) -> jax.Array:
        """Of site effects; a term that is off stays at zero."""
        effects = (model.own[self.name].site_effect ** 2).sum() / (2 * jnp.maximum(sd["site_effect"], 1e-6) ** 2)
        return jnp.where(sd["site_effect"] > 0, effects, 0.0)

    def score(self, model: Flux, part: TowerPart, sd: dict[str, jax.Array]) -> TowerScore:
        """Inner validation sites, without their effects."""
        rows, there = part.validation_rows, (part.validation_rows >= 0).astype(jnp.float32)
        site = self.site[rows]
        difference = self.observed[rows] - self.expected(model, rows, sd)
        weight = there * self.row_weight[rows]
        loss = self.losses(model, rows, {**sd, "site_effect": jnp.zeros(())})

        def by_site(values: jax.Array) -> jax.Array:
            return jax.ops.segment_sum(there * values, site, len(part.use))

        count = jnp.maximum(by_site(there), 1)
        residual = by_site(difference) / count
        inside = by_site((difference - residual[site]) ** 2) / count
        noise = inside / jnp.maximum(by_site(weight), 1.0)
        return TowerScore((weight * loss).sum(), weight.sum(), (weight * difference**2).sum(), residual, noise)

    def criterion(self, scores: TowerScore, parts: TowerPart) -> float:
        """Negative log density of inner validation sites."""
        return float(scores.validation_loss.sum())

    def history(self, scores: TowerScore) -> dict[str, float]:
        """Mean loss and error at inner validation sites."""
        held = float(scores.validation_weight.sum())
        return {
            "validation_loss": float(scores.validation_loss.sum()) / held if held else np.nan,
            "validation_rmse": float(np.sqrt(scores.validation_square.sum() / held)) if held else np.nan,
        }

    def estimated_sd(
        self, scores: TowerScore, parts: TowerPart, sd: dict[str, np.ndarray], family: np.ndarray
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """b's sd per member, from the mean residuals of unseen (inner validation) sites of its family."""
        return {"site_effect": site_effect_spread(scores, np.asarray(parts.validation) > 0, np.asarray(sd["site_effect"]), family)}

    def held_out(self, scores: TowerScore, models: Any, parts: TowerPart, everything: Any) -> np.ndarray:
        """Negative log density of inner validation sites, (member,)."""
        return np.asarray(scores.validation_loss)

    def linear(self, landscape: Landscape) -> TowerEquations:
        """Towers in the linear step."""
        return TowerEquations.create(self.data, landscape, self.degrees_of_freedom)


def validation_rows(held: np.ndarray, site: np.ndarray) -> np.ndarray:
    """Rows of the inner validation sites of each member, (member, row), filled up with -1, of sites held out (member, site)."""
    inside = held[:, site] > 0
    found = np.full((len(inside), int(inside.sum(axis=1).max(initial=1))), -1)
    for rows, mine in zip(found, inside, strict=True):
        rows[: mine.sum()] = np.flatnonzero(mine)
    return found.astype(np.int32)


def site_effect_spread(scores: TowerScore, unseen: np.ndarray, sd: np.ndarray, family: np.ndarray) -> np.ndarray:
    """Sd of b per member, from the mean residuals of unseen (inner validation) sites of its family.

    The mean residual of a site has variance b's + (variance within the site) / (effective number of its data). The
    median of squares over 0.455 (the median of a chi-square of one degree of freedom) keeps a few odd sites from ruling.
    """
    spread = np.array(sd)
    for name in np.unique(family):
        mine = family == name
        squares, noise = scores.site_residual[mine][unseen[mine]] ** 2, scores.site_noise[mine][unseen[mine]]
        if squares.size:
            variance = max(float(np.median(squares)) / 0.455 - float(np.median(noise)), SMALLEST_SITE_EFFECT_SD**2)
            spread[mine] = np.where(spread[mine] > 0, np.sqrt(variance), 0.0)
    return spread

"""Towers in training: errors with memory, tails, and what a site has of its own; inner validation sites stop training.

A tower's flux is f + g + b + e: b is what a site has of its own, its offset, cycle, trend and years, kept as numbers of every site
while members are trained; the error e has memory and tails and is taken row after row (see `innovations`): training draws
runs of neighbouring rows.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.base import Constraint, Flux, Landscape, Plan, Term
from dualflux.constraints.towers.equations import TowerEquations
from dualflux.constraints.towers.folds import inner_validation
from dualflux.constraints.towers.innovations import Rows, Unseen, run_losses, unseen_losses
from dualflux.constraints.towers.members import TowerParameters, TowerPart, TowerScore, rows_of
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings, check_lines
from dualflux.constraints.towers.records import OWN, Records
from dualflux.constraints.towers.site_spread import PARTS, UnseenRows, spread_of_sites

INNER_SHARE = 0.2
INITIAL_SD = {"offset": 1.0, "cycle": 0.5, "trend": 0.3, "year": 0.3}  # until the first scores estimate them
NAMES = {part: f"site_{part}" for part in PARTS}
MEMORY_DAYS, MEMORY_FACTOR = 20.0, 1.5  # e-folding time of the error's memory where training begins, and the sd of its logarithm's prior
SHARE_SD = 2.0  # of the prior of the logit of its share: as good as flat between .02 and .98
WARM_UP_DAYS = 120  # rows this long before the first one that counts tell a run what the error remembers,
WARM_UP_ROWS = (4, 16)  # ... at least and at most so many of them
RUN = 4  # warm-ups long is a run
UNSEEN_SHARE = 4  # training runs to one at unseen sites: the few sizes of the error need no more
ERROR_SIZES = ("log_error_floor", "log_error_growth", "memory_logit", "log_memory_days")


class Towers(Constraint):
    """Point observations on the device, in the order of site and time; `data` are the same with their sites and times."""

    name: ClassVar[str] = "towers"
    label: ClassVar[str] = "eddy covariance towers"

    predictors: jax.Array
    site: jax.Array
    observed: jax.Array
    uncertainty: jax.Array
    gap: jax.Array
    year: jax.Array
    own: jax.Array
    amplitude: jax.Array
    degrees_of_freedom: float
    batch: int = eqx.field(static=True)
    warm_up: int = eqx.field(static=True)
    site_effects: bool = eqx.field(static=True)
    records: Records = eqx.field(static=True)
    data: TowerConstraint = eqx.field(static=True)

    @classmethod
    def create(cls, data: TowerConstraint, settings: TowerTermSettings, batch: int) -> "Towers":
        """Move observations to the device.

        Parameters
        ----------
        batch : int
            Observations per training step.
        """
        records = Records.create(data.site, data.time, len(data.sites))
        order, step = records.order, records.step
        floats = (data.predictors[order], data.observed[order], data.uncertainty[order], records.gap, records.own, data.amplitude)
        predictors, observed, uncertainty, gap, own, amplitude = (jnp.asarray(a, jnp.float32) for a in floats)
        return cls(
            predictors, jnp.asarray(records.site), observed, uncertainty, gap, jnp.asarray(records.year), own, amplitude,
            settings.degrees_of_freedom, batch, int(np.clip(round(WARM_UP_DAYS / step), *WARM_UP_ROWS)), settings.site_effects,
            records, data,
        )  # fmt: skip

    @staticmethod
    def check_lines(data: pd.DataFrame) -> list[str]:
        """Sites, rows, years of the observations."""
        return check_lines(data)

    @property
    def size(self) -> float:
        """Months that sites have data of."""
        return float(len(pd.DataFrame({"site": self.data.site, "month": self.data.time.to_period("M")}).drop_duplicates()))

    def parameters(self) -> TowerParameters:
        """Nothing of a site's own; an error of 0.5 gC m-2 d-1 + 20 %, half of its variance with memory."""
        sites = len(self.data.sites)
        return TowerParameters(
            jnp.zeros(sites * len(OWN)), jnp.zeros(sites * self.records.years), jnp.log(jnp.asarray(0.5)), jnp.log(jnp.asarray(0.2)),
            jnp.zeros(()), jnp.log(jnp.asarray(MEMORY_DAYS)),
        )  # fmt: skip

    def effect_sd(self, plan: Plan) -> dict[str, float]:
        """Prior sds of what a site has of its own; 0 where the study goes without."""
        on = plan.variant.towers and self.site_effects
        return {NAMES[part]: sd if on else 0.0 for part, sd in INITIAL_SD.items()}

    def parts(self, plans: Sequence[Plan]) -> TowerPart:
        """Sites of each member."""
        use, held = (np.stack(sites).astype(np.float32) for sites in zip(*(self._sites_of(p) for p in plans), strict=True))
        return self.part_of(use, held, np.array([p.weight(self.name) for p in plans], np.float32))

    def part_of(self, use: np.ndarray, held: np.ndarray, weight: np.ndarray) -> TowerPart:
        """Parts of members that use sites so often (member, site), hold others (member, site), and weigh towers (member,)."""
        found = (use, held, *rows_of(use, self.records), *rows_of(held, self.records), weight)
        return TowerPart(*(jnp.asarray(a) for a in found))

    def _sites_of(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """Sites a member trains on, and those of its inner validation."""
        group, outer = self.data.sites.group.to_numpy(), self.data.sites.fold.to_numpy()
        if not plan.variant.towers:
            return np.zeros(len(group)), np.zeros(len(group))
        held = inner_validation(group, outer, plan.fold, plan.member, min(INNER_SHARE, 1 / plan.members), plan.seed)
        return ((outer != plan.fold) & ~held).astype(float), held.astype(float)

    def term(self, part: TowerPart, sd: dict[str, jax.Array], key: jax.Array, control: Any) -> tuple[jax.Array, Term]:
        """Sum over training rows, estimated from runs of neighbouring rows: every row is as likely to be one that counts.

        How large errors are and how long they last is learnt at the inner validation sites, whose rows teach nothing else of the member: at
        training sites a network's residuals become smaller than its errors.
        """
        one, other = jax.random.split(key)
        seen = self.draw_runs(part.rows, part.row_count, one)
        unseen = self.draw_runs(part.validation_rows, part.validation_count, other)[:, ::UNSEEN_SHARE]
        rows, number = jnp.concatenate([seen, unseen], axis=1), seen.shape[1]

        def loss(model: Flux) -> jax.Array:
            found = self.losses(model, rows, jnp.arange(rows.shape[1]) >= number, part, sd)
            there = jnp.where(part.validation_count > 0, found[:, number:].mean(), 0.0)
            return part.row_count * (found[self.warm_up :, :number].mean() + there)

        return part.weight, loss

    def draw_runs(self, rows: jax.Array, count: jax.Array, key: jax.Array) -> jax.Array:
        """Of the first `count` rows, (row of the run, run): runs begin anywhere, evenly spread, and wrap around."""
        length = RUN * self.warm_up
        runs = max(self.batch // length, 1)
        begin = jnp.floor((jnp.arange(runs) + jax.random.uniform(key, (runs,))) / runs * count)
        place = (jnp.arange(length)[:, None] + begin) % jnp.maximum(count, 1)
        return rows[place.astype(jnp.int32)]

    def losses(self, model: Flux, rows: jax.Array, unseen: jax.Array, part: TowerPart, sd: dict[str, jax.Array]) -> jax.Array:
        """Negative log density of rows (row, run), each given those before it in the run, without constants.

        Runs (run,) at unseen sites teach sizes of errors and what these sites have of their own; all others all the rest, and sizes
        of errors only where there are no unseen sites.
        """
        expected = self.expected(model, rows, sd)
        expected = jnp.where(unseen, jax.lax.stop_gradient(expected), expected)
        own: TowerParameters = model.own[self.name]
        learns = unseen | (part.validation_count == 0)
        sizes = {name: jnp.where(learns, getattr(own, name), jax.lax.stop_gradient(getattr(own, name))) for name in ERROR_SIZES}
        own = own._replace(**sizes)
        scale = self.error_scale(own, expected)
        expected = expected + jnp.where(sd[NAMES["offset"]] > 0, self.of_site(own, rows, unseen, part, scale), 0.0)
        return run_losses(self.run(self.observed[rows] - expected, scale, own, rows), self.degrees_of_freedom)

    def run(self, residual: jax.Array, scale: jax.Array, own: TowerParameters, rows: jax.Array) -> Rows:
        """Residuals and their errors at rows (row, ...), each after the one before it."""
        before = jnp.concatenate([-jnp.ones_like(rows[:1]), rows[:-1]])
        near = (rows == before + 1) & (self.site[rows] == self.site[before])
        decay = jnp.where(near, jnp.exp(-jnp.where(near, self.gap[rows], 0.0) / jnp.exp(own.log_memory_days)), 0.0)
        share = jax.nn.sigmoid(own.memory_logit)
        white = self.uncertainty[rows] ** 2 + (1 - share) * scale**2
        return Rows(residual, white, jnp.sqrt(share) * scale, decay, jnp.ones_like(scale))

    def error_scale(self, own: TowerParameters, expected: jax.Array) -> jax.Array:
        """Scale of the error at expected fluxes [gC m-2 d-1]; fluxes do not grow to have larger errors."""
        return jnp.exp(own.log_error_floor) + jnp.exp(own.log_error_growth) * jax.lax.stop_gradient(jnp.abs(expected))

    def of_site(self, own: TowerParameters, rows: jax.Array, unseen: jax.Array, part: TowerPart, scale: jax.Array) -> jax.Array:
        """What sites and their years have of their own, at rows; offsets have zero mean over the sites in use: what they share is g's."""
        effect = own.site_effect.reshape(-1, len(OWN))
        common = (part.use * effect[:, 0]).sum() / jnp.maximum(part.use.sum(), 1)
        year = own.site_year.reshape(len(effect), -1)[self.site[rows], self.year[rows]]
        return (effect[self.site[rows]] * self.own[rows]).sum(axis=-1) - jnp.where(unseen, 0.0, common) + year * scale

    def expected(self, model: Flux, rows: jax.Array, sd: dict[str, jax.Array]) -> jax.Array:
        """f + g, or f where a member goes without g [gC m-2 d-1], like `rows`."""
        landscape, tower_like = model.fluxes(self.predictors[rows])
        return jnp.where(sd["representativeness"] > 0, tower_like, landscape)

    def negative_log_prior(self, model: Flux, sd: dict[str, jax.Array]) -> jax.Array:
        """Of b, with tails, of years, and of how errors hang together; a term that is off stays at zero."""
        own, freedom = model.own[self.name], self.degrees_of_freedom
        effect = ((own.site_effect.reshape(-1, len(OWN)) / jnp.maximum(self.own_sd(sd), 1e-6)) ** 2).sum(axis=1)
        years = (own.site_year**2).sum() / (2 * jnp.maximum(sd[NAMES["year"]], 1e-6) ** 2)
        memory = (own.memory_logit / SHARE_SD) ** 2 / 2 + ((own.log_memory_days - np.log(MEMORY_DAYS)) / MEMORY_FACTOR) ** 2 / 2
        return memory + jnp.where(sd[NAMES["offset"]] > 0, (freedom + len(OWN)) / 2 * jnp.log1p(effect / freedom).sum() + years, 0.0)

    def own_sd(self, sd: dict[str, jax.Array]) -> jax.Array:
        """Prior sds of b, (site, function), see `site_spread.own_sd`."""
        size = {"offset": jnp.ones_like(self.amplitude), "cycle": self.amplitude, "trend": jnp.ones_like(self.amplitude)}
        return jnp.stack([sd[NAMES[part]] * size[part] for part in OWN], axis=1)

    def unseen_losses(self, expected: jax.Array, own: TowerParameters, rows: jax.Array, sd: dict[str, jax.Array]) -> jax.Array:
        """Negative log density of rows (row,) of sites that nothing was fitted to, each given those before it, from f + g there."""
        scale = self.error_scale(own, expected)
        run = self.run(self.observed[rows] - expected, scale, own, rows)
        return unseen_losses(run, self.unseen(rows, scale, sd), self.degrees_of_freedom)

    def score(self, model: Flux, part: TowerPart, sd: dict[str, jax.Array]) -> TowerScore:
        """Inner validation sites: their density with b and the error's memory integrated out."""
        own: TowerParameters = model.own[self.name]
        rows = part.validation_rows
        there = (jnp.arange(len(rows)) < part.validation_count).astype(jnp.float32)
        expected = self.expected(model, rows, sd)
        difference, scale = self.observed[rows] - expected, self.error_scale(own, expected)
        loss = there * self.unseen_losses(expected, own, rows, sd)
        share, days = jax.nn.sigmoid(own.memory_logit), jnp.exp(own.log_memory_days)
        return TowerScore(loss.sum(), there.sum(), (there * difference**2).sum(), there * difference, scale, share, days)

    def unseen(self, rows: jax.Array, scale: jax.Array, sd: dict[str, jax.Array]) -> Unseen:
        """What a site has of its own, at rows (row,) of sites that nothing was fitted to."""
        site, year = self.site[rows], self.year[rows]
        new_site = jnp.concatenate([jnp.ones(1), ((site[1:] != site[:-1]) | (rows[1:] != rows[:-1] + 1)).astype(jnp.float32)])
        new_year = jnp.maximum(new_site, jnp.concatenate([jnp.ones(1), (year[1:] != year[:-1]).astype(jnp.float32)]))
        return Unseen(self.own[rows], self.own_sd(sd)[site] ** 2, sd[NAMES["year"]] * scale, new_site, new_year)

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
        """Sds of what sites have of their own, per member: from unseen (inner validation) sites of its family."""
        found = {name: np.array(sd[name]) for name in NAMES.values()}
        for name in np.unique(family):
            mine = np.flatnonzero(family == name)
            before = {part: float(sd[own][mine[0]]) for part, own in NAMES.items()}
            after = spread_of_sites([self._unseen_rows(scores, parts, int(i)) for i in mine], before, self.degrees_of_freedom)
            for part, own in NAMES.items():
                found[own][mine] = after[part]
        return found

    def _unseen_rows(self, scores: TowerScore, parts: TowerPart, member: int) -> UnseenRows:
        rows = np.asarray(parts.validation_rows[member])[: int(parts.validation_count[member])]
        residual, scale = (np.asarray(a[member], np.float64)[: len(rows)] for a in (scores.residual, scores.scale))
        uncertainty = np.asarray(self.uncertainty, np.float64)[rows]
        share, days = float(scores.share[member]), float(scores.memory_days[member])
        return UnseenRows(self.records.part(rows), residual, scale, uncertainty, share, days, self.data.amplitude)

    def held_out(self, scores: TowerScore, models: Any, parts: TowerPart, everything: Any) -> np.ndarray:
        """Negative log density of inner validation sites, (member,)."""
        return np.asarray(scores.validation_loss)

    def linear(self, landscape: Landscape) -> TowerEquations:
        """Towers in the linear step."""
        return TowerEquations.create(self.data, self.records, landscape, self.degrees_of_freedom)

"""The same training as a plain PyTorch loop over members: same network, batches, steps, optimiser, estimator and anchors."""

import itertools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn
from training_world import INVERSION_TERM, TOWER_TERM, Task

from dualflux.constraints.towers.constraint import INITIAL_SD, MEMORY_DAYS, MEMORY_FACTOR, RUN, SHARE_SD, UNSEEN_SHARE
from dualflux.constraints.towers.members import TowerParameters
from dualflux.constraints.towers.records import OWN
from dualflux.constraints.towers.site_spread import UnseenRows, own_sd, spread_of_sites
from dualflux.fitting.objective import Member
from dualflux.fitting.training import control_times, optimiser_of
from dualflux.model.flux_model import FluxModel, Network, Representativeness


class Data(NamedTuple):
    """What all members share, as tensors."""

    predictors: Tensor
    site: Tensor
    observed: Tensor
    uncertainty: Tensor
    gap: Tensor
    year: Tensor
    own: Tensor
    static: Tensor
    seasonal: Tensor
    dynamic: Tensor
    season: Tensor
    start: Tensor
    steps: Tensor
    days: Tensor
    cell: Tensor
    share: Tensor
    area: Tensor
    region_area: Tensor

    @classmethod
    def of(cls, task: Task) -> "Data":
        """Copied from the task."""
        o = task.objective
        t, r = o["towers"], o["inversions"].regions
        walk = r.walk
        arrays = (
            t.predictors, t.site, t.observed, t.uncertainty, t.gap, t.year, t.own, *walk.cube,
            walk.month_start, walk.month_steps, walk.month_days, r.strata.cell, r.strata.share, r.strata.area,
        )  # fmt: skip
        return cls(*(torch.from_numpy(np.array(a)) for a in (*arrays, (task.cells.region_area / 1e15).astype(np.float32))))

    def block(self, step: Tensor, cell: Tensor) -> Tensor:
        """Predictors (step, cell, column)."""
        static = self.static[cell].expand(len(step), -1, -1)
        at = step[:, None], cell[None]
        return torch.cat([static, self.seasonal[self.season[step][:, None], at[1]], self.dynamic[at]], dim=-1)


class Flux(nn.Module):
    """f, g, b and the size of the error."""

    def __init__(self, task: Task, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        widths = [task.towers.predictors.shape[1], *task.network.hidden, 1]
        layers: list[nn.Module] = []
        for i, (inside, outside) in enumerate(itertools.pairwise(widths)):
            layer = nn.Linear(inside, outside)
            nn.init.normal_(layer.weight, std=(2 / inside) ** 0.5 * (0.1 if i == len(widths) - 2 else 1.0))
            nn.init.zeros_(layer.bias)
            layers += [layer, activation()]
        self.network = nn.Sequential(*layers[:-1])
        self.intercept = nn.Parameter(torch.zeros(()))
        self.coefficient = nn.Parameter(torch.zeros(task.cube.columns.invariant))
        sites, towers = len(task.towers.sites), task.objective["towers"]
        self.site_effect = nn.Parameter(torch.zeros(sites * len(OWN)))
        self.site_year = nn.Parameter(torch.zeros(sites * towers.records.years))
        self.floor = nn.Parameter(torch.tensor(0.5).log())
        self.growth = nn.Parameter(torch.tensor(0.2).log())
        self.memory_logit = nn.Parameter(torch.zeros(()))
        self.log_memory_days = nn.Parameter(torch.tensor(MEMORY_DAYS).log())

    def landscape(self, predictors: Tensor) -> Tensor:
        """f [gC m-2 d-1]."""
        found: Tensor = 2.0 * self.network(predictors)[..., 0]
        return found

    def weights(self) -> list[Tensor]:
        """Of the layers, without biases."""
        return [layer.weight for layer in self.network if isinstance(layer, nn.Linear)]


def tower_like(model: Flux, x: Tensor) -> Tensor:
    """f + g [gC m-2 d-1]."""
    return model.landscape(x) + model.intercept + x[..., : len(model.coefficient)] @ model.coefficient


def tower_losses(model: Flux, data: Data, rows: Tensor, unseen: Tensor, use: Tensor) -> Tensor:
    """As `dualflux.constraints.towers.constraint.Towers.losses`: rows (row, run), each given those before it in its run."""
    expected = tower_like(model, data.predictors[rows])
    expected = torch.where(unseen, expected.detach(), expected)
    floor, growth, logit, days = (
        torch.where(unseen, p, p.detach()) for p in (model.floor, model.growth, model.memory_logit, model.log_memory_days)
    )
    scale = floor.exp() + growth.exp() * expected.detach().abs()
    effect = model.site_effect.reshape(-1, len(OWN))
    common = torch.where(unseen, 0.0, (use * effect[:, 0]).sum() / use.sum())
    year = model.site_year.reshape(len(effect), -1)[data.site[rows], data.year[rows]]
    residual = data.observed[rows] - expected - (effect[data.site[rows]] * data.own[rows]).sum(-1) + common - year * scale
    before = torch.cat([-torch.ones_like(rows[:1]), rows[:-1]])
    near = (rows == before + 1) & (data.site[rows] == data.site[before])
    decay = torch.where(near, (-torch.where(near, data.gap[rows], 0.0) / days.exp()).exp(), 0.0)
    share = torch.sigmoid(logit)
    return run_losses(residual, data.uncertainty[rows] ** 2 + (1 - share) * scale**2, share.sqrt() * scale, decay)


def run_losses(residual: Tensor, white: Tensor, memory: Tensor, decay: Tensor) -> Tensor:
    """As `dualflux.constraints.towers.innovations.run_losses`."""
    mean, variance, found, nu = torch.zeros_like(residual[0]), torch.ones_like(residual[0]), [], TOWER_TERM.degrees_of_freedom
    for r, w, m, a in zip(residual, white, memory, decay, strict=True):
        mean, variance = a * mean, a**2 * variance + 1 - a**2
        total = m**2 * variance + w
        innovation, gain = r - m * mean, variance * m / total
        mean, variance = mean + gain * innovation, (1 - gain * m) * variance
        found.append((nu + 1) / 2 * torch.log1p(innovation**2 / total / nu) + total.log() / 2)
    return torch.stack(found)


def quadratic_form(first: Tensor, second: Tensor, mean_precision: Tensor, anomaly_precision: Tensor, years: int) -> Tensor:
    """As `dualflux.constraints.inversions.constraint.quadratic_form`, all years used."""
    n = first.shape[1]
    means = first.mean(1), second.mean(1)
    first, second = first - means[0][:, None], second - means[1][:, None]
    mean = torch.einsum("ri,risj,sj->", means[0], mean_precision, means[1])
    excess = torch.einsum("ryi,risj,syj->", first, mean_precision, second) / (n - 1)
    anomaly = torch.einsum("ryi,risj,syj->", first, anomaly_precision, second) / (n - 1)
    return mean - (1 / n - 1 / years) * excess + (years - 1) * anomaly


class Anchored(NamedTuple):
    """An earlier state and its exact integrals."""

    network: nn.Module
    integral: Tensor


class Loop:
    """One member."""

    def __init__(self, task: Task, data: Data, member: Member) -> None:
        self.task, self.data, self.settings = task, data, task.training
        self.target, self.mean_precision, self.anomaly_precision = (
            torch.from_numpy(np.array(a)) for a in member.parts["inversions"][:1] + member.parts["inversions"][2:4]
        )
        part, towers = member.parts["towers"], task.objective["towers"]
        self.use = torch.from_numpy(np.array(part.use))
        self.rows = torch.from_numpy(np.array(part.rows)[: int(part.row_count)]).long()
        self.held = torch.from_numpy(np.array(part.validation_rows)[: int(part.validation_count)]).long()
        self.towers, self.scale = towers, towers.size
        self.slopes, self.sd = float(member.sd["representativeness"]), dict(INITIAL_SD)
        self.model = Flux(task)
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.anchor: Anchored | None = None

    def train(self) -> list[tuple[float, FluxModel]]:
        """Seconds since the start and averaged weights at every checkpoint."""
        settings, found, spent, begun = self.settings, [], 0.0, time.perf_counter()
        optimiser = torch.optim.Adam(self.model.parameters(), lr=1.0)
        rates, each = learning_rates(self.task), settings.steps // settings.checkpoints
        for step in range(each * settings.checkpoints):
            if step % each == 0 and step // each in control_times(settings):
                self.set_anchor()
            optimiser.param_groups[0]["lr"] = float(rates[step])
            optimiser.zero_grad(set_to_none=True)
            (self.objective() / self.scale).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimiser.step()
            keep = min(0.98, step / (step + 10.0))
            with torch.no_grad():
                for average, now in zip(self.average, self.model.parameters(), strict=True):
                    average.lerp_(now, 1 - keep)
            if (step + 1) % each == 0:
                self.estimate_effect_sd()
                spent += time.perf_counter() - begun
                found.append((spent, self.as_flux_model()))
                begun = time.perf_counter()
        return found

    def objective(self) -> Tensor:
        """Negative log posterior from one batch."""
        model, seen = self.model, self.runs(self.rows)
        rows = torch.cat([seen, self.runs(self.held)[:, ::UNSEEN_SHARE]], dim=1)
        unseen = torch.arange(rows.shape[1]) >= seen.shape[1]
        losses = tower_losses(model, self.data, rows, unseen, self.use)
        towers = len(self.rows) * (losses[self.towers.warm_up :, ~unseen].mean() + losses[:, unseen].mean())
        years = len(self.data.start)
        chosen = torch.randperm(years)[: INVERSION_TERM.years]
        residuals = self.residual(chosen), self.residual(chosen)
        regions = quadratic_form(*residuals, self.mean_precision, self.anomaly_precision, years) / 2
        sizes = self.task.objective.prior_sd
        prior = sum(((w / sd) ** 2).sum() / 2 for w, sd in zip(model.weights(), sizes, strict=True))
        prior = prior + (model.coefficient**2).sum() / (2 * self.slopes**2) + self.tower_prior()
        return towers + regions + prior

    def runs(self, rows: Tensor) -> Tensor:
        """Rows (row, run): runs begin anywhere, evenly spread, and wrap around."""
        length = RUN * self.towers.warm_up
        count = max(self.settings.batch // length, 1)
        begin = ((torch.arange(count) + torch.rand(count)) / count * len(rows)).floor().long()
        return rows[(torch.arange(length)[:, None] + begin) % len(rows)]

    def tower_prior(self) -> Tensor:
        """Of what sites have of their own and of how errors hang together."""
        model, nu = self.model, TOWER_TERM.degrees_of_freedom
        sd = torch.from_numpy(own_sd(self.sd, self.task.towers.amplitude).astype(np.float32))
        effect = ((model.site_effect.reshape(sd.shape) / sd) ** 2).sum(1)
        memory = (model.memory_logit / SHARE_SD) ** 2 / 2 + ((model.log_memory_days - np.log(MEMORY_DAYS)) / MEMORY_FACTOR) ** 2 / 2
        years = (model.site_year**2).sum() / (2 * self.sd["year"] ** 2)
        return memory + years + (nu + len(OWN)) / 2 * torch.log1p(effect / nu).sum()

    def residual(self, chosen: Tensor) -> Tensor:
        """H f - y at random locations and days, (region, chosen year, 12)."""
        data, count = self.data, INVERSION_TERM.locations
        regions = len(data.area)
        share = (torch.arange(count) + torch.rand(regions, count)) / count
        place = torch.searchsorted(data.share, share, right=True).clamp_max(data.cell.shape[1] - 1)
        cell = data.cell.gather(1, place).reshape(-1).long()
        step = (data.start[chosen] + (torch.rand(12) * data.steps[chosen]).long()).reshape(-1)
        rows = data.block(step, cell)

        def integral(network: nn.Module) -> Tensor:
            flux = 2.0 * network(rows)[..., 0]
            mean = flux.reshape(len(chosen), 12, regions, count).mean(-1)
            found: Tensor = mean.permute(2, 0, 1) * data.area[:, None, None] * data.days[chosen]
            return found

        found = integral(self.model.network)
        if self.anchor is not None:
            with torch.no_grad():
                correction = self.anchor.integral[:, chosen] - integral(self.anchor.network)
            found = found + correction
        return found - self.target[:, chosen]

    @torch.no_grad()
    def set_anchor(self) -> None:
        """The state as it is, with its integrals over all cells and days."""
        data, months = self.data, []
        cells = torch.arange(data.static.shape[0])
        for start, count, days in zip(data.start.reshape(-1), data.steps.reshape(-1), data.days.reshape(-1), strict=True):
            flux = self.model.landscape(data.block(torch.arange(int(start), int(start + count)), cells))
            months.append(data.region_area @ flux.mean(0) * days)
        network = Flux(self.task).network
        network.load_state_dict(self.model.network.state_dict())
        self.anchor = Anchored(network, torch.stack(months, 1).reshape(len(data.area), *data.start.shape))

    @torch.no_grad()
    def estimate_effect_sd(self) -> None:
        """From the residuals of the member's own validation sites."""
        model, held = self.model, self.held.numpy()
        expected = tower_like(model, self.data.predictors[self.held])
        residual = (self.data.observed[self.held] - expected).numpy().astype(np.float64)
        scale = (model.floor.exp() + model.growth.exp() * expected.abs()).numpy().astype(np.float64)
        share, days = float(torch.sigmoid(model.memory_logit)), float(model.log_memory_days.exp())
        uncertainty = self.data.uncertainty[self.held].numpy().astype(np.float64)
        rows = UnseenRows(self.towers.records.part(held), residual, scale, uncertainty, share, days, self.task.towers.amplitude)
        self.sd = spread_of_sites([rows], self.sd, TOWER_TERM.degrees_of_freedom)

    def as_flux_model(self) -> FluxModel:
        """The averaged weights, to be scored as ours are."""
        named: dict[str, Any] = {n: jnp.asarray(a.numpy()) for (n, _), a in zip(self.model.named_parameters(), self.average, strict=True)}
        layers = sorted({int(n.split(".")[1]) for n in named if n.startswith("network.")})
        network = Network(
            [named[f"network.{i}.weight"].T for i in layers], [named[f"network.{i}.bias"] for i in layers], self.task.network.activation
        )
        g, own = (
            Representativeness(named["intercept"], named["coefficient"]),
            [named[n] for n in ("site_effect", "site_year", "floor", "growth", "memory_logit", "log_memory_days")],
        )
        return jax.tree.map(np.array, FluxModel(network, g, {"towers": TowerParameters(*own)}, jnp.zeros((3, 0)), jnp.zeros((0, 3))))


def learning_rates(task: Task) -> np.ndarray:
    """Of every step: the schedule inside our optimiser, read off what it does to a gradient of one sign."""
    optimiser, settings = optimiser_of(task.training), task.training
    state, rates = optimiser.init(jnp.ones(())), []
    for _ in range(settings.steps):
        update, state = optimiser.update(jnp.ones(()), state)
        rates.append(-float(update))
    return np.array(rates)

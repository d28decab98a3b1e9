"""Skill of f and of f + g, and the regions' flux, against the prior strength of g.

    python benchmarks/prior_of_g.py STUDY.yaml --out prior_of_g.csv [--members 2] [--steps 300] [--data-root DIR]

Trains `dual` once and closes it again and again, the sd of g's slopes held at each of several values instead of estimated;
`plain` (no g, no b) and the estimated value stand beside them. 0 leaves of g its intercept; at 100 gC m-2 d-1 the slopes are as good
as free, and f learns from towers only what invariant predictors cannot explain. Columns: `prior` (a number, `estimated` or
`plain`), `sd` (of the slopes, mean over folds), and those of `sensitivity.py`.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import sensitivity

from dualflux.constraints.inversions.observations import HoldoutSettings, constraint_maker
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.cube import DeviceCube
from dualflux.fitting.ensembles import Stack, plan_runs, stack_members
from dualflux.fitting.fit_ensembles import Trained, build_objective, landscape_of, linear_step, train_members
from dualflux.fitting.linear_posterior import estimate, solve
from dualflux.fitting.objective import Member
from dualflux.fitting.posterior_draws import LinearStep, draw_posterior, with_parameters
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel
from dualflux.prepared import Prepared
from dualflux.stages.observations import tower_constraint
from dualflux.study.settings import StudySettings, load_study
from dualflux.variants import VARIANTS

STRENGTHS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 100.0)  # gC m-2 d-1 per standard deviation of a predictor


def close_with(step: LinearStep, model: FluxModel, members: Member, slope_sd: float) -> FluxModel:
    """The closing step with the sd of g's slopes held, all else estimated."""
    count = len(step.family)
    parameters = [np.empty(0)] * count
    for mine, problems in step.problems(model, members, np.arange(count)):
        layout = problems[0].layout
        spread, normals = estimate(problems, step.centre(layout, members, mine))
        held = np.array([*spread[:2], slope_sd])
        for i, problem, normal in zip(mine, problems, normals, strict=True):
            parameters[i] = solve(problem, normal, held, draw=True)[0]
    return with_parameters(model, np.stack(parameters), layout)


def train(settings: StudySettings, prepared: Prepared, towers: TowerConstraint, variant: str) -> tuple[Trained, Stack, LinearStep]:
    """One variant up to the closing step."""
    s, cube, cells = settings, prepared.cube, prepared.cells
    make, device = constraint_maker(prepared.target, cube, cells, s.inversion_term, s.fitted), DeviceCube.of(cube)
    objective = build_objective(
        towers, make(None, None), cube, device, cells, s.network, s.tower_term, s.inversion_term, s.training, s.seed, prepared.library
    )
    runs = plan_runs({variant: VARIANTS[variant]}, s.network, HoldoutSettings(), make)
    stack = stack_members(objective.constraints, runs, s.tower_term, [{"inversions": float(s.inversion_term.weight)}], s.seed)
    linear = linear_step(objective, stack, landscape_of(cube, cells, s.spatial_term), device, s.spatial_term)
    return train_members(objective, stack, linear, s.network, s.training), stack, linear


def rows(settings: StudySettings, prepared: Prepared, towers: TowerConstraint) -> Iterator[dict[str, str | float]]:
    """The table, one row at a time."""
    names = prepared.cube.columns.names

    def row(prior: str, sd: float, model: FluxModel, stack: Stack, linear: LinearStep) -> dict[str, str | float]:
        ensemble = Ensemble(model, stack.table.fold.to_numpy(), settings.network, names, linear.landscape.basis)
        found = {**sensitivity.regional_columns(ensemble, settings, prepared), **sensitivity.tower_columns(ensemble, settings, prepared)}
        return {"prior": prior, "sd": sd, **found}

    for variant in ("plain", "dual"):
        trained, stack, linear = train(settings, prepared, towers, variant)
        members = stack.members._replace(sd={**stack.members.sd, **{n: jnp.asarray(a) for n, a in trained.sd.items()}})
        model, spread, _ = draw_posterior(linear, trained.model, members)
        name = "plain" if variant == "plain" else "estimated"
        yield row(name, float(spread["representativeness"].mean()), model, stack, linear)
    for sd in STRENGTHS:
        yield row(f"{sd:g}", sd, close_with(linear, trained.model, members, sd), stack, linear)


def main() -> None:
    """Run and write."""
    options = sensitivity.options_of(__doc__, "prior_of_g.csv")
    study = load_study(options.study, data_root=options.data_root)
    prepared = sensitivity.prepare(study)
    settings = sensitivity.base_settings(study, options.members, options.steps)
    if settings.inversion_term.weight == "auto":  # the stated one: weights near it change little
        settings = sensitivity.changed_settings(settings, sensitivity.Choice("", {"inversion_term": {"weight": 1.0}}))
    towers = tower_constraint(study, prepared)
    sensitivity.write_rows(rows(settings, prepared, towers), "prior", options.out)


if __name__ == "__main__":
    main()

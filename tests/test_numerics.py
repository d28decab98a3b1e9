"""Precision: gradients against finite differences, single against double, the same bytes again, and no number that is no number."""

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import on_its_own
from dualflux.cli import main
from dualflux.constraints.inversions.constraint import InversionScore
from dualflux.constraints.inversions.locations import regional_operator
from dualflux.constraints.towers.members import TowerScore
from dualflux.errors import NumericalError
from dualflux.features import require_finite_predictors
from dualflux.fitting.objective import Member, Score
from dualflux.fitting.training import _require_finite
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FLUX_SCALE, FluxModel, NetworkSettings
from dualflux.model.spatial_effect import HARMONICS, harmonics
from dualflux.prediction.engine import integrate_month
from dualflux.prediction.in_memory import monthly_fluxes, require_finite_flux
from small_world import BASIS, CELLS, double_precision, make_cube, make_objective, to_double
from test_training import CUBE, REGIONAL, TOWERS, one_member, perturbed_model, terms_of, without_validation

LAT, LON = CELLS.lat(), CELLS.lon()
PLACE = BASIS.at(LAT, LON)


def test_the_package_switches_no_global_precision() -> None:
    code = "import dualflux.pipeline, jax; print(jax.config.jax_enable_x64)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- gradients ---


PARTS = {
    "weights": lambda m: m.network.weights,
    "biases": lambda m: m.network.biases,
    "intercept": lambda m: [m.representativeness.intercept],
    "slopes": lambda m: [m.representativeness.coefficient],
    "site effects": lambda m: [m.own["towers"].site_effect, m.own["towers"].site_year],
    "error sizes": lambda m: [m.own["towers"].log_error_floor, m.own["towers"].memory_logit, m.own["towers"].log_memory_days],
}
FELT = {  # the parameters that each term depends on; the others' gradient is exactly zero
    "towers": set(PARTS),
    "inversions": {"weights", "biases"},
    "prior": {"weights", "slopes", "site effects", "error sizes"},
}


@pytest.fixture(scope="module", params=["exact", "stratified"])
def gradients(request: pytest.FixtureRequest) -> tuple[dict[str, FluxModel], object]:
    """Of every term, in float64, and the slopes of central differences along a random direction in each part of the parameters."""
    with double_precision():
        objective = to_double(make_objective(CUBE, TOWERS, REGIONAL, request.param))
        member: Member = to_double(without_validation(one_member("dual")))  # type: ignore[assignment]
        model: FluxModel = to_double(perturbed_model())  # type: ignore[assignment]
        model = eqx.tree_at(lambda m: m.own["towers"].log_error_growth, model, jnp.asarray(-60.0))  # its flux is held in the gradient
        value = jax.jit(lambda m: terms_of(objective, member, m))
        found = jax.jit(jax.jacrev(lambda m: terms_of(objective, member, m)))(model)
        slopes = {}
        for part, of in PARTS.items():
            keys = iter(jax.random.split(jax.random.key(len(part)), 10))
            step = [jax.random.normal(next(keys), a.shape) for a in of(model)]
            h = 1e-6
            moved = [eqx.tree_at(of, model, [a + s * h * d for a, d in zip(of(model), step, strict=True)]) for s in (1, -1)]
            ahead, behind = (value(m) for m in moved)
            for term, gradient in found.items():
                along = sum(float((g * d).sum()) for g, d in zip(of(gradient), step, strict=True))
                slopes[term, part] = along, float(ahead[term] - behind[term]) / (2 * h), float(abs(ahead[term]))
    return slopes


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("term", FELT)
def test_the_gradient_of_every_term_is_that_of_finite_differences(gradients: dict, term: str, part: str) -> None:
    """Central differences: truncation h^2 and rounding eps |value| / h are both far below 1e-6 of a slope that is felt."""
    along, difference, value = gradients[term, part]
    if part in FELT[term]:
        assert along == pytest.approx(difference, rel=1e-6, abs=1e-9 * value)
        assert abs(along) > 1e-6
    else:
        assert along == 0 and difference == 0


# --- single and double precision ---


def drawn_ensemble(cube: object, members: int = 3) -> Ensemble:
    """Networks whose fluxes have the size of real ones, some gC m-2 d-1."""
    settings = NetworkSettings(hidden=(64, 64), activation="relu", members=2, folds=2)
    names = cube.columns.names  # type: ignore[attr-defined]
    invariant = cube.columns.invariant  # type: ignore[attr-defined]
    keys = jax.random.split(jax.random.key(5), members)
    model = jax.vmap(lambda key: FluxModel.create(key, len(names), invariant, {}, settings))(keys)
    weights = [*model.network.weights[:-1], model.network.weights[-1] * 20]
    spatial = 0.3 * jax.random.normal(jax.random.key(6), (members, HARMONICS, PLACE.shape[1]))
    model = eqx.tree_at(lambda m: (m.network.weights, m.spatial), model, (weights, spatial))
    return Ensemble(model, np.zeros(members, int), settings, tuple(names), BASIS)


def double_fluxes(model: FluxModel, rows: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """The network in NumPy float64, written once more from its definition: (member, row)."""
    weights, biases = ([np.asarray(a, np.float64) for a in part] for part in (model.network.weights, model.network.biases))
    out = []
    for member in range(len(weights[0])):
        hidden = rows.astype(np.float64)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            hidden = np.maximum(hidden @ weight[member] + bias[member], 0)
        out.append(FLUX_SCALE * (hidden @ weights[-1][member] + biases[-1][member])[:, 0] + effect[member])
    return np.stack(out)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_regional_integrals_in_single_precision_are_those_in_double(time_step: str) -> None:
    """Same weights, the network once in float32 and once in float64: integrals agree to 1e-5 of their size (root mean square)."""
    cube = make_cube(1, time_step)
    model = drawn_ensemble(cube).model
    wave = harmonics(cube.steps.season, len(cube.seasonal))
    operator, single, double = regional_operator(CELLS), [], []
    for found in monthly_fluxes(model, cube, PLACE):
        m = found.month
        start, count = cube.steps.month_start[m], cube.steps.month_steps[m]
        flux = np.zeros((3, len(LAT)))
        for step in range(start, start + count):
            effect = np.einsum("cb,kb->kc", PLACE, np.einsum("h,khb->kb", wave[step], np.asarray(model.spatial, np.float64)))
            flux += double_fluxes(model, cube.rows(np.full(len(LAT), step), np.arange(len(LAT))), effect) / count
        single.append(integrate_month(found.landscape, CELLS, cube.steps.month_days[m]))
        double.append((operator @ flux.T).T * cube.steps.month_days[m])
    single, double = np.stack(single), np.stack(double)
    size = np.sqrt((double**2).mean(axis=(0, 1)))  # of each region
    assert (size > 0.05).all()  # PgC month-1
    assert (np.abs(single - double).max(axis=(0, 1)) < 1e-5 * size).all()


# --- the same again ---

FLUXES = """
import hashlib, numpy as np
from test_numerics import PLACE, drawn_ensemble, make_cube, monthly_fluxes
cube = make_cube(1)
fluxes = [found.landscape for found in monthly_fluxes(drawn_ensemble(cube).model, cube, PLACE)]
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in fluxes)).hexdigest())
"""


def _digest(cores: set[int]) -> str:
    env = {**on_its_own(), "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    how = {"env": env, "capture_output": True, "text": True, "check": True, "preexec_fn": lambda: os.sched_setaffinity(0, cores)}
    return str(subprocess.run([sys.executable, "-c", FLUXES], **how).stdout.split()[-1])  # type: ignore[call-overload]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot restrict a process to some cores")
def test_the_number_of_cores_changes_no_bit_of_a_product() -> None:
    """A year's fluxes from the same weights, on one core and on all (training promises this on the same number of cores only)."""
    every = os.sched_getaffinity(0)
    assert _digest({min(every)}) == _digest(every)


# --- no number ---


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_predictor_that_is_no_number_is_named_with_its_place(kind: str, value: float) -> None:
    cube = make_cube(1)
    column = getattr(cube.columns, kind).index("height" if kind == "static" else "ta")
    array = getattr(cube, kind)
    array[(2,) * (array.ndim - 2) + (17, column)] = value
    with pytest.raises(NumericalError, match=rf"latitude {LAT[17]:g}, longitude {LON[17]:g}") as caught:
        require_finite_predictors(cube, LAT, LON)
    name = "height" if kind == "static" else "ta"
    assert f"predictor `{name}` is not finite" in str(caught.value)
    assert (" on 2001-03-01" in str(caught.value)) == (kind == "dynamic")


def test_good_predictors_pass() -> None:
    require_finite_predictors(make_cube(1), LAT, LON)


def test_a_flux_that_overflows_names_month_member_place_and_predictor() -> None:
    cube = make_cube(1)
    column = cube.columns.dynamic.index("ta")
    cube.dynamic[4, 9, column] = 1e38  # finite, but no more once it is multiplied
    model = drawn_ensemble(cube).model
    model = eqx.tree_at(lambda m: m.network.weights[0], model, model.network.weights[0] * 1e3)
    place = rf"latitude {LAT[9]:g}, longitude {LON[9]:g}"
    with pytest.raises(NumericalError, match=rf"2001-05 are not finite, the first of member 0 at {place}, where `ta` is 1e\+38 standard"):
        list(monthly_fluxes(model, cube, PLACE, (LAT, LON)))


def test_fluxes_that_are_numbers_pass() -> None:
    require_finite_flux(np.zeros((2, len(LAT))), make_cube(1), 0)


def test_a_diverged_member_is_named_with_its_misfits() -> None:
    towers = TowerScore(np.array([1.0, 5.0, 2.0]), *(np.zeros(3),) * 2, *(np.zeros((3, 4)),) * 2, *(np.zeros(3),) * 2)  # type: ignore[arg-type]
    inversions = InversionScore(np.array([1.0, np.inf, 2]))  # type: ignore[arg-type]
    found = Score(np.array([1.0, np.nan, np.inf]), {"towers": towers, "inversions": inversions})  # type: ignore[arg-type]
    with pytest.raises(
        NumericalError,
        match=r"2 member.s. is not finite at checkpoint 4: the first is member 1, with 5 \(validation_loss of towers.* inf \(reg",
    ):
        _require_finite(found, 3)


def test_it_ends_a_run_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dualflux import pipeline

    def fails(*_: object) -> None:
        raise NumericalError("predictor `ta` is not finite at latitude 45")

    assert main(["init", str(tmp_path)]) == 0
    monkeypatch.setattr(pipeline, "run", fails)
    assert main(["run", str(tmp_path / "study.yaml")]) == 2
    assert capsys.readouterr().err == "dualflux: error: predictor `ta` is not finite at latitude 45\n"

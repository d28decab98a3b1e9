"""The vegetation scale: its formula, and that everything that belongs to f is multiplied by it, everywhere in the same way."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from dualflux.checking import check_study
from dualflux.constraints.areas import Areas
from dualflux.constraints.inversions.equations import flux_integrals, overlap_of
from dualflux.constraints.inversions.integrals import exact_integrals
from dualflux.constraints.inversions.locations import regional_operator
from dualflux.constraints.towers.equations import TowerEquations
from dualflux.constraints.towers.records import Records
from dualflux.cube import Cube, DeviceCube
from dualflux.errors import InputError
from dualflux.fitting.fit_ensembles import linear_step
from dualflux.fitting.posterior_draws import draw_posterior
from dualflux.model.anomaly_effect import AnomalyPrior
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import Network
from dualflux.prediction.engine import RegionalAnomalies, integrate_month
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.stages.prepare import require_vegetation
from dualflux.study.settings import load_study
from dualflux.vegetation import Vegetation, VegetationSettings
from small_world import (
    BASIS,
    CELLS,
    NETWORK,
    SPATIAL,
    make_cube,
    make_landscape,
    make_objective,
    make_regional,
    make_stack,
    make_towers,
    quick_compilation,
    study_runs,
)
from test_linear_posterior import dense_design
from test_posterior_draws import make_models
from tiny_study import write_tiny_study

SCALED = VegetationSettings(greenness="height", bounds=(500.0, 1500.0), land_cover="cover", bare=("GRA",))


def vegetated(cube: Cube, settings: VegetationSettings = SCALED) -> Cube:
    return replace(cube, vegetation=Vegetation.create(settings, cube.columns.static, cube.centre, cube.scale))


CUBE = vegetated(make_cube())


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def with_scale(models: Any, cube: Cube = CUBE) -> Any:
    """Networks with the scale of a cube."""
    network = models.network
    return replace(models, network=Network(network.weights, network.biases, network.activation, cube.vegetation))


def test_the_scale_is_the_least_of_ramp_and_vegetated_share() -> None:
    """NDVI .05 to .8 and shares of barren land and water, drawn by hand; standardised columns give the same."""
    ndvi = np.array([0.05, 0.12, 0.235, 0.35, 0.8, 0.8, 0.8, 0.235])
    barren = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 1.0, 0.9])
    water = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0])
    names, centre, scale = ("cover_BSV", "ndvi", "cover_WAT", "cover_GRA"), np.array([0.4, 0.5, 0.1, 0.5]), np.array([1, 0.2, 1, 1.0])
    static = ((np.stack([barren, ndvi, water, 1 - barren - water], axis=1) - centre) / scale).astype(np.float32)

    def found(**settings: Any) -> Any:
        return Vegetation.create(VegetationSettings(**settings), names, centre, scale).at(static)

    both = found(greenness="ndvi", land_cover="cover", bare=("BSV", "WAT"))
    np.testing.assert_allclose(both, [0, 0, 0.5, 1, 1, 0.6, 0, 0.1], atol=1e-6)
    assert both[6] == 0  # exactly, in spite of single precision
    np.testing.assert_allclose(found(greenness="ndvi"), [0, 0, 0.5, 1, 1, 1, 1, 0.5], atol=1e-6)
    np.testing.assert_allclose(found(land_cover="cover", bare=("BSV",)), [1, 1, 1, 1, 1, 0.7, 0, 0.1], atol=1e-6)


def by_hand() -> np.ndarray:
    """v of the cells of the drawn world, from the predictors in their own units."""
    raw = CUBE.static * CUBE.scale[:3] + CUBE.centre[:3]
    assert CUBE.columns.static == ("height", "cover_ENF", "cover_GRA")
    return np.minimum(np.clip((raw[:, 0] - 500) / 1000, 0, 1), 1 - raw[:, 2])


def test_a_network_has_no_flux_where_there_is_no_vegetation() -> None:
    v, plain = by_hand(), jax.tree.map(lambda a: a[0], make_models(1))
    np.testing.assert_allclose(CUBE.vegetated(), v, atol=1e-5)
    assert (v == 0).sum() > 5 and (v > 0.2).sum() > 5
    rows = jnp.asarray(CUBE.rows(np.full(len(v), 7), np.arange(len(v))))
    scaled = with_scale(plain)
    flux, tower_like = scaled.fluxes(rows, jnp.asarray(np.full(len(v), 0.3)))
    np.testing.assert_allclose(flux, v * (np.asarray(plain.network(rows)) + 0.3), atol=1e-5)
    assert (np.asarray(flux)[v == 0] == 0).all()
    np.testing.assert_allclose(np.asarray(tower_like - flux), np.asarray(plain.representativeness(rows)), atol=1e-5)  # g is not scaled
    np.testing.assert_allclose(scaled.network.features(rows) @ scaled.network.readout, scaled.landscape(rows), atol=1e-5)


def test_integrals_are_sums_over_vegetated_cells() -> None:
    """Of the network, u, predictors of time alone and regional anomalies: v times area, cell by cell."""
    series = np.random.default_rng(1).normal(size=(len(CUBE.steps.time), 2)).astype(np.float32)
    cube, v, operator = replace(CUBE, series=series), by_hand(), regional_operator(CELLS)[:-1]
    plain = jax.tree.map(lambda a: a[0], make_models(1))
    objective = make_objective(cube, make_towers(cube), make_regional(cube))
    step, cell = np.indices((len(cube.steps.time), len(v)))
    flux = v * np.asarray(plain.network(jnp.asarray(cube.rows(step.ravel(), cell.ravel()))), np.float64).reshape(step.shape)
    wanted = (operator @ flux.T * cube.steps.month_days).reshape(len(CELLS.region_names), -1, 12)
    np.testing.assert_allclose(exact_integrals(with_scale(plain), objective["inversions"].regions), wanted, rtol=2e-4, atol=1e-4)
    month, without = np.arange(len(cube.steps.months)), make_landscape(replace(cube, vegetation=None))
    found = flux_integrals(Areas(CELLS.region_area, month), make_landscape(cube))
    np.testing.assert_allclose(found, flux_integrals(Areas(CELLS.region_area * v, month), without), rtol=1e-4, atol=1e-6)
    shared = np.einsum("rc,sc,c->rs", CELLS.region_area, CELLS.region_fraction, v) / 1e15
    np.testing.assert_allclose(overlap_of(CELLS, cube.vegetated()), shared, rtol=1e-4)


def test_equations_of_towers_are_those_of_a_scaled_design() -> None:
    """f's columns at a tower (readout, u) are its own v times what they are; g's are not scaled."""
    towers = make_towers(CUBE, every=5)
    records = Records.create(towers.site, towers.time, len(towers.sites))
    equations = TowerEquations.create(towers, records, make_landscape(CUBE), 4.0)
    own = towers.predictors[:, :3] * CUBE.scale[:3] + CUBE.centre[:3]
    v = np.minimum(np.clip((own[:, 0] - 500) / 1000, 0, 1), 1 - own[:, 2])
    assert set(np.round(own[:, 2], 5)) == {0, 1} and 0 < (v < 1e-5).mean() < 1  # a site is wholly of its own class
    plain = make_models(1).network
    features = np.asarray(with_scale(make_models(1)).network.features(jnp.asarray(towers.predictors)[None])[0], np.float64)
    bare = np.asarray(plain.features(jnp.asarray(towers.predictors)[None])[0], np.float64)
    design = dense_design(towers, bare)
    invariant = CUBE.columns.invariant + 1
    design[:, :-invariant] *= v[:, None]
    parameters = np.random.default_rng(0).normal(size=design.shape[1])
    found = equations.expected(features[records.order], parameters)
    np.testing.assert_allclose(found, (design @ parameters)[records.order], atol=1e-4)


def test_members_follow_their_inversions_over_vegetated_land_alone() -> None:
    """Wide anomalies and inversions without error in theirs: training's algebra and the products' fluxes mean the same v."""
    towers, regional = make_towers(CUBE), make_regional(CUBE)
    objective = make_objective(CUBE, towers, regional)
    stack = make_stack(objective, study_runs(("dual",)))
    part = stack.members.parts["inversions"]
    parts = {**stack.members.parts, "inversions": part._replace(anomaly_precision=part.anomaly_precision * 1e8)}
    stack = stack._replace(members=stack.members._replace(parts=parts))
    prior = AnomalyPrior(np.full((2, 12), 50.0), 0.5, 0.3)
    step = linear_step(objective, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL, anomaly=prior)
    found = draw_posterior(step, with_scale(make_models(len(stack.plans))), stack.members)
    effects = np.stack([a.swapaxes(1, 2).reshape(-1, 2) for a in found.anomalies if a is not None])
    place = BASIS.at(CELLS.lat(), CELLS.lon())
    alone = RegionalAnomalies(effects, lambda own: CELLS.region_fraction[:, own])
    months = list(monthly_fluxes(found.model.bare(), CUBE, place, (CELLS.lat(), CELLS.lon()), alone))
    bare = by_hand() == 0
    assert all((m.landscape[:, bare] == 0).all() and (m.tower_like[:, bare] != 0).all() for m in months)
    integrals = np.stack([integrate_month(m.landscape, CELLS, CUBE.steps.month_days[m.month])[:, :-1] for m in months], axis=-1)
    values = integrals.reshape(len(effects), 2, -1, 12)
    off, wanted = (x - x.mean(axis=2, keepdims=True) for x in (values, np.asarray(part.target, np.float64)))
    np.testing.assert_allclose(off, wanted, atol=2e-3)
    change = alone.times(CUBE.vegetated()).at(slice(None), slice(0, 2))
    np.testing.assert_allclose(change, alone.at(slice(None), slice(0, 2)) * CUBE.vegetated(), atol=1e-12)


def test_a_stored_ensemble_keeps_its_scale(tmp_path: Path) -> None:
    for cube, name in ((CUBE, "with"), (make_cube(), "without")):
        models = with_scale(make_models(2), cube)
        Ensemble(models, np.array([0, 1]), NETWORK, cube.columns.names, BASIS).save(tmp_path / name)
        assert Ensemble.load(tmp_path / name).model.network.vegetation == cube.vegetation


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "neither `greenness` nor `land_cover`"),
        ({"land_cover": "cover"}, "belong together"),
        ({"greenness": "ndvi", "bare": ["BSV"]}, "belong together"),
        ({"greenness": "ndvi", "bounds": [0.3, 0.3]}, "do not ascend"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        VegetationSettings(**settings)


def test_a_study_names_predictors_and_classes_that_it_has(tmp_path: Path) -> None:
    """Problems of the section, and the line of `check` with and without it."""
    file = write_tiny_study(tmp_path / "world")
    keys = yaml.safe_load(file.read_text(encoding="utf-8"))

    def study(**section: Any) -> Path:
        content = {k: v for k, v in keys.items() if k != "vegetation"} | ({"vegetation": section} if section else {})
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file

    with pytest.raises(InputError, match=r"`ta` is a predictor of kind dynamic; allowed: one of kind static \(the study has none\)"):
        load_study(study(greenness="ta"))
    with pytest.raises(InputError, match=r"`cover` is no predictor from a file; allowed: one of kind fractions \(land_cover, climate\)"):
        load_study(study(land_cover="cover", bare=["BSV"]))
    wrong = check_study(load_study(study(land_cover="land_cover", bare=["BSV", "ICE"])))
    assert any("`land_cover` has no class ICE; allowed: ENF, EBF" in problem for problem in wrong.problems)
    assert ("vegetation", "BSV, ICE of land_cover (no flux)") in wrong.summary
    assert dict(check_study(load_study(study())).summary)["vegetation"].startswith("no vegetation scale")


def test_a_scale_of_zero_everywhere_is_refused() -> None:
    """On all land, at every tower, in a whole region of inversions."""
    rows = CUBE.rows(np.zeros(4, int), np.arange(4))
    high = VegetationSettings(greenness="height", bounds=(9000.0, 9001.0))
    with pytest.raises(InputError, match="zero on all land"):
        require_vegetation(CELLS, vegetated(make_cube(), high), rows, inversions=True)
    at_bare = CUBE.rows(np.zeros(3, int), np.flatnonzero(by_hand() == 0)[:3])
    with pytest.raises(InputError, match="zero at every tower"):
        require_vegetation(CELLS, CUBE, at_bare, inversions=True)
    north = replace(CELLS, region_fraction=np.where(by_hand() > 0, CELLS.region_fraction * [[1.0], [0.0]], CELLS.region_fraction))
    with pytest.raises(InputError, match="zero on all land of south"):
        require_vegetation(north, CUBE, rows, inversions=True)
    require_vegetation(north, CUBE, rows, inversions=False)
    require_vegetation(CELLS, CUBE, np.zeros((0, rows.shape[1])), inversions=True)

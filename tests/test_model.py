"""The flux model: what f and g depend on, what a fresh member is, and weights that come back bit by bit."""

from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from dualflux.errors import InputError
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FLUX_SCALE, FluxModel, Network, NetworkSettings
from dualflux.model.spatial_effect import HARMONICS, SpatialBasis

SETTINGS = NetworkSettings(hidden=(5, 3), activation="relu", members=2, folds=2)
NAMES = ("height", "season", "ta", "rain")
BASIS = SpatialBasis(np.array([[50.0, 10.0], [-10.0, -60.0]]), 1234.5)


class Kept(NamedTuple):
    """What a constraint may keep in a model."""

    site_effect: jax.Array
    log_error_floor: jax.Array


def own(sites: int) -> dict[str, Kept]:
    return {"towers": Kept(jnp.zeros(sites), jnp.zeros(()))}


def member(seed: int, sites: int = 6) -> FluxModel:
    """A member with every parameter away from its start."""
    model = FluxModel.create(jax.random.key(seed), len(NAMES), 2, own(sites), SETTINGS)
    model = eqx.tree_at(lambda m: m.spatial, model, jnp.zeros((HARMONICS, BASIS.size)))
    keys = iter(jax.random.split(jax.random.key(seed + 100), len(jax.tree.leaves(model))))
    return jax.tree.map(lambda a: a + 0.1 * jax.random.normal(next(keys), a.shape), model)


def ensemble(members: int = 4) -> Ensemble:
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *[member(i) for i in range(members)])
    return Ensemble(stacked, np.arange(members) % 2, SETTINGS, NAMES, BASIS)


def test_a_network_is_what_it_says() -> None:
    """Two layers by hand: scale x (relu(x W + b) w + c)."""
    network = Network([jnp.asarray([[1.0, -1.0]]), jnp.asarray([[2.0], [3.0]])], [jnp.asarray([0.5, 0.0]), jnp.asarray([1.0])], "relu")
    found = network(jnp.asarray([[1.0], [-2.0]]))
    np.testing.assert_allclose(found, FLUX_SCALE * np.array([2 * 1.5 + 1, 3 * 2 + 1]))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_flux_is_linear_in_its_readout(activation: str) -> None:
    """features @ readout is the network's flux, and with_readout changes the last layer to what is asked and nothing before it."""
    settings = NetworkSettings(hidden=(7, 5), activation=activation)  # type: ignore[arg-type]
    network = FluxModel.create(jax.random.key(0), 4, 2, {}, settings).network
    x, readout = jax.random.normal(jax.random.key(1), (11, 4)), jax.random.normal(jax.random.key(2), (6,))
    features = np.asarray(network.features(x), np.float64)
    np.testing.assert_allclose(features @ np.asarray(network.readout, np.float64), network(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(features[:, -1], FLUX_SCALE)  # the bias
    other = network.with_readout(readout)
    np.testing.assert_array_equal(other.readout, readout)
    np.testing.assert_array_equal(other.hidden(x), network.hidden(x))
    np.testing.assert_allclose(other(x), features @ np.asarray(readout, np.float64), rtol=1e-5, atol=1e-5)


def test_the_spatial_effect_belongs_to_the_landscape() -> None:
    """u moves f and f + g by the same amount: representativeness is what it was."""
    model, x = member(0), jax.random.normal(jax.random.key(2), (50, 4))
    u = jax.random.normal(jax.random.key(3), (50,))
    without, with_u = model.fluxes(x), model.fluxes(x, u)
    np.testing.assert_allclose(with_u.landscape - without.landscape, u, atol=1e-5)
    np.testing.assert_allclose(with_u.tower_like - without.tower_like, u, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_any_leading_shape_gives_the_same_numbers(activation: str) -> None:
    settings = NetworkSettings(hidden=(7,), activation=activation)  # type: ignore[arg-type]
    model = FluxModel.create(jax.random.key(0), 4, 2, {}, settings)
    x = jax.random.normal(jax.random.key(1), (5, 3, 4))
    np.testing.assert_allclose(model.network(x), np.stack([[model.network(r) for r in block] for block in x]), rtol=1e-4, atol=1e-6)


def test_representativeness_varies_with_what_does_not_vary_between_years_only() -> None:
    """f + g - f is free of the last (dynamic) columns, and linear with the stated slopes in the first."""
    model = member(0)
    x = jax.random.normal(jax.random.key(2), (50, 4))
    other = x.at[:, 2:].add(3.0)
    g = [np.asarray(found.tower_like - found.landscape) for found in (model.fluxes(x), model.fluxes(other))]
    np.testing.assert_allclose(g[0], g[1], atol=1e-5)
    np.testing.assert_allclose(g[0], model.representativeness.intercept + x[:, :2] @ model.representativeness.coefficient, atol=1e-5)


def test_a_fresh_member_has_no_tower_term_and_a_flux_near_zero() -> None:
    model = FluxModel.create(jax.random.key(3), 4, 2, own(6), NetworkSettings())
    x = jax.random.normal(jax.random.key(4), (500, 4))
    found = model.fluxes(x)
    np.testing.assert_array_equal(found.landscape, found.tower_like)
    assert float(jnp.abs(found.landscape).mean()) < 0.5  # gC m-2 d-1


def test_initial_weights_have_the_stated_variance() -> None:
    """He: variance 2 / inputs, so that a layer of rectifiers keeps the size of its inputs; the last layer a tenth."""
    network = FluxModel.create(jax.random.key(5), 200, 0, {}, NetworkSettings(hidden=(300, 300))).network
    sizes = [float(w.std()) for w in network.weights]
    np.testing.assert_allclose(sizes[:2], np.sqrt([2 / 200, 2 / 300]), rtol=0.02)
    assert sizes[2] == pytest.approx(0.1 * np.sqrt(2 / 300), rel=0.2)


def test_the_same_key_is_the_same_member() -> None:
    one, same, other = (FluxModel.create(jax.random.key(k), 4, 2, {}, SETTINGS).network.weights[0] for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).all()


def test_what_constraints_keep_is_not_needed_to_predict() -> None:
    model = member(1)
    x = jax.random.normal(jax.random.key(0), (9, 4))
    assert not model.bare().own
    np.testing.assert_array_equal(model.fluxes(x).tower_like, model.bare().fluxes(x).tower_like)


# Ensembles


def test_an_ensemble_comes_back_bit_by_bit(tmp_path: Path) -> None:
    before = ensemble()
    before.save(tmp_path / "weights.npz")
    after = Ensemble.load(tmp_path / "weights.npz")
    assert after.network == SETTINGS and after.predictors == NAMES and after.size == 4
    np.testing.assert_array_equal(after.fold, before.fold)
    np.testing.assert_array_equal(after.basis.centre, BASIS.centre)
    assert after.basis.length == BASIS.length
    assert {n: kept._fields for n, kept in after.model.own.items()} == {n: kept._fields for n, kept in before.model.own.items()}
    for one, two in zip(jax.tree.leaves(before.model), jax.tree.leaves(after.model), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"]


def test_members_are_chosen_whole() -> None:
    all_members, x = ensemble(), jax.random.normal(jax.random.key(0), (3, 4))
    chosen = all_members.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.fold, all_members.fold[[2, 0]])
    for place, seed in enumerate((2, 0)):
        mine = jax.tree.map(lambda a, p=place: a[p], chosen.model)
        np.testing.assert_allclose(mine.fluxes(x).tower_like, member(seed).fluxes(x).tower_like, rtol=1e-6)
        np.testing.assert_array_equal(mine.spatial, member(seed).spatial)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "pickle", "other archive", "fewer"])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "weights.npz"
    ensemble().save(path)
    whole = path.read_bytes()
    if damage == "pickle":
        np.savez(path, about=np.array([{"network": 1}], dtype=object))
    elif damage == "other archive":
        np.savez(path, a=np.zeros(3))
    elif damage == "fewer":
        with np.load(path) as file:
            kept = {n: file[n] for n in file.files if n != "leaf_0"}
        with path.open("wb") as out:
            np.savez(out, **kept)
    else:
        with ZipFile(path) as archive:  # among the numbers: what a flipped header says may not matter
            inside = archive.getinfo("leaf_0.npy").header_offset + 200
        flipped = whole[:inside] + bytes([whole[inside] ^ 255]) + whole[inside + 1 :]
        path.write_bytes({"cut": whole[:-200], "empty": b"", "text": b"not a model", "flipped": flipped}[damage])
    with pytest.raises(InputError, match=r"weights.npz: not a whole dualflux model .*delete it and run `dualflux train`"):
        Ensemble.load(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `dualflux train`"):
        Ensemble.load(tmp_path / "weights.npz")


@pytest.mark.parametrize("wrong", [{"hidden": []}, {"members": 1}, {"folds": 1}, {"activation": "step"}, {"width": 3}])
def test_impossible_networks_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NetworkSettings.model_validate(wrong)

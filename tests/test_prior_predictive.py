"""Draws of the priors against variances that are known."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from dualflux.cube import Steps
from dualflux.evaluation.prior_predictive import (
    PriorSds,
    draw_models,
    equal_areas,
    known_numbers,
    land_numbers,
    map_sd,
    prior_predictive,
    prior_table,
    whole_years,
)
from dualflux.model.ensemble import Ensemble, load_models
from dualflux.model.flux_model import FLUX_SCALE, FluxModel, NetworkSettings
from dualflux.model.spatial_effect import SpatialBasis
from dualflux.prepared import load
from dualflux.units import DAYS_PER_MEAN_YEAR, PETAGRAM

SD = PriorSds(network=0.5, lasting=0.3, seasonal=0.1, shape=0.05, intercept=2.0, slope=0.25)


def drawn_ensemble(inputs: int = 3, width: int = 8) -> Ensemble:
    """One untrained member with one hidden layer."""
    settings = NetworkSettings(hidden=(width,), activation="relu")
    basis = SpatialBasis.create(np.array([0.0, 40.0, -40.0]), np.array([0.0, 90.0, 170.0]), 1000.0)
    model = FluxModel.create(jax.random.key(0), inputs, 2, {}, settings)
    model = jax.tree.map(lambda a: a[None], model)
    return Ensemble(model, np.array([-1]), settings, tuple("abc"[:inputs]), basis)


def test_the_networks_prior_has_the_variance_of_its_layers() -> None:
    """One hidden layer, no bias: E f^2 = scale^2 (s2^2 width) (s1^2 |x|^2 / 2), with s = sd sqrt(2 / inputs of the layer)."""
    network, u, g = draw_models(drawn_ensemble(), SD, 20_000, np.random.default_rng(0))
    x = np.array([1.0, -2.0, 0.5], np.float32)
    flux = np.asarray(jax.vmap(lambda m: m.landscape(jnp.asarray(x)))(network), np.float64)
    wanted = FLUX_SCALE**2 * (0.25 * 2 / 8 * 8) * (0.25 * 2 / 3 * float(x @ x) / 2)
    assert np.mean(flux**2) == pytest.approx(wanted, rel=0.05) and abs(flux.mean()) < 0.05
    assert all(not np.asarray(jax.vmap(lambda m: m.landscape(jnp.asarray(x)))(m)).any() for m in (u, g))


def test_u_and_g_have_the_sds_of_their_priors() -> None:
    """phi's squares sum to 1 at every place, so u's lasting part has the coefficients' variance; g's is 2^2 + 0.25^2 |x|^2."""
    ensemble = drawn_ensemble()
    network, u, g = draw_models(ensemble, SD, 20_000, np.random.default_rng(0))
    field = np.asarray(u.spatial) @ ensemble.basis.at(np.array([10.0]), np.array([20.0])).T
    np.testing.assert_allclose(field.std(axis=0)[:, 0], [0.3, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05], rtol=0.03)
    x = jnp.asarray([1.0, -2.0, 0.5])
    tower = np.asarray(jax.vmap(lambda m: m.representativeness(x))(g))
    assert tower.var() == pytest.approx(4 + 0.0625 * 5, rel=0.05)
    assert not np.asarray(network.spatial).any() and not np.asarray(network.representativeness.coefficient).any()


def test_numbers_of_a_known_field() -> None:
    """Two cells, two years; one draw has 1 and 3 gC m-2 d-1 in the first year and twice that in the second (no leap year)."""
    days = np.tile([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], 2).astype(float)
    flux = np.repeat([[[1.0, 3.0]], [[2.0, 6.0]]], 12, axis=0)
    found = land_numbers(flux, days, 1e14)
    assert found["global_mean"] == pytest.approx([3 * DAYS_PER_MEAN_YEAR * 1e14 / PETAGRAM])
    assert found["map_sd"] == pytest.approx([1.5 * DAYS_PER_MEAN_YEAR])
    assert found["annual_sd"] == pytest.approx([np.std([2.0, 4.0], ddof=1) * 365 * 1e14 / PETAGRAM])
    assert "annual_sd" not in land_numbers(flux[:12], days[:12], 1e14)
    assert map_sd(np.array([1.0, 5.0]), np.array([3.0, 1.0])) == pytest.approx(np.sqrt(3.0))


def test_sampled_cells_stand_for_equal_areas() -> None:
    area = np.array([1.0, 1.0, 6.0, 2.0])
    found = equal_areas(area, 10)
    assert np.bincount(found).tolist() == [1, 1, 6, 2]


def test_whole_years_from_the_first_january() -> None:
    class Drawn:
        steps = Steps.create("2001-03-01", "2004-06-30", "monthly")

    assert whole_years(Drawn()) == slice(10, 34)  # type: ignore[arg-type]
    assert whole_years(Drawn(), 15) == slice(10, 22)  # type: ignore[arg-type]


def test_sds_are_those_of_the_variant() -> None:
    rows = [("dual", "spatial_lasting", 0.09), ("dual", "representativeness_mean", 9.0), ("towers", "spatial_lasting", 1.0)]
    table = pd.DataFrame(rows, columns=["variant", "effect", "prior_variance"])
    assert PriorSds.read(table, "dual", 2.0) == pytest.approx((2.0, 0.3, 0.0, 0.0, 3.0, 0.0))


def test_the_table_has_quantiles_beside_the_data() -> None:
    drawn = pd.DataFrame(
        {"quantity": "map_sd", "part": np.repeat(["network", "g"], 101), "draw": 0, "value": [*np.arange(101.0), *[0.0] * 101]}
    )
    (row,) = prior_table(drawn, {}, {"map_sd": 7.0}).itertuples()
    assert (row.part, row.lower, row.median, row.upper, row.fitted) == ("network", 5.0, 50.0, 95.0, 7.0) and np.isnan(row.data)


def test_known_numbers_take_whole_years_of_the_mean() -> None:
    time = pd.date_range("2001-01-01", periods=30, freq="MS")
    value = np.repeat([-0.1, -0.2, 9.0], [12, 12, 6])
    rows = pd.DataFrame({"product": "target", "region": "global", "member": np.nan, "time": time, "value": value})
    found = known_numbers(pd.concat([rows, rows.assign(member=0.0, value=5.0), rows.assign(region="x", value=5.0)]), "target")
    assert found == pytest.approx({"global_mean": -1.8, "annual_sd": np.std([-1.2, -2.4], ddof=1)})
    assert known_numbers(rows, "nobody") == {}


def test_a_finished_study_has_its_page(tiny_run: Path) -> None:
    """Same seed, same draws; all together is the sum of the parts; the report shows it, and what is far from data."""
    prepared, ensembles = load(tiny_run / "prepared"), load_models(tiny_run / "models")[0]
    drawn = [prior_predictive(prepared, ensembles["dual"], SD, 3, draws=4) for _ in range(2)]
    pd.testing.assert_frame_equal(*drawn)
    wide = drawn[0][drawn[0]["quantity"] == "global_mean"].pivot(index="draw", columns="part", values="value")
    assert wide.drop(columns="all").sum(axis=1).to_numpy() == pytest.approx(wide["all"].to_numpy())
    table = pd.read_csv(tiny_run / "tables/prior_predictive.csv")
    assert {"global_mean", "map_sd", "site_mean"} <= set(table["quantity"])
    known = table.drop_duplicates("quantity").set_index("quantity")
    summary = (
        pd.read_csv(tiny_run / "tables/summary.csv", keep_default_na=False).set_index(["product", "region", "metric"])["value"].sort_index()
    )
    assert known.loc["global_mean", "fitted"] == pytest.approx(float(summary["dual", "global", "mean_annual"]))
    html = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert "What the priors say before the data" in html and "no tower is within 1000" in html
    assert {f"share_far_{d}km" for d in (500, 1000)} | {"hot_spots", "share_unseen_classes"} <= set(summary["dual", "global"].index)

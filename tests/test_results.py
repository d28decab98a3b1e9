"""Tables of a study: towers judged by members that never saw them, regions and left-out data by hand, and what `prepare` keeps."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dualflux.constraints.inversions.covariance import misfit
from dualflux.constraints.inversions.observations import InversionTermSettings, constraint_maker
from dualflux.cube import Cube
from dualflux.evaluation.regional import land_table, regional_table
from dualflux.evaluation.summary import summary_table
from dualflux.evaluation.towers import representativeness_table
from dualflux.evaluation.verdict import verdict_table
from dualflux.grid import Grid, LandCells, Regions
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel
from dualflux.prediction.at_towers import tower_predictions
from dualflux.prepared import Prepared, load, save
from small_world import BASIS, CELLS, GRID, NETWORK, WHOLE_PERIOD, make_cube, make_sites, make_target, make_towers

CUBE = make_cube()
REGIONS = CELLS.region_names
MONTHS = CUBE.steps.months
NO_LIBRARY = np.empty((0, len(MONTHS), len(CELLS.index)), np.float32)


def with_global(target: xr.DataArray) -> xr.DataArray:
    return xr.concat([target, target.sum("region").expand_dims(region=["global"])], "region")


def make_prepared(cube: Cube = CUBE, references: bool = False) -> Prepared:
    towers = make_towers(cube)
    names = towers.sites.index.to_numpy()[towers.site]
    uncertainty = np.where(np.arange(len(names)) % 5, towers.uncertainty.astype(float), np.nan)
    observations = pd.DataFrame({"site": names, "time": towers.time, "nee": towers.observed.astype(float) / 3, "uncertainty": uncertainty})
    target = make_target()
    full = type(target)(target.name, target.kind, with_global(target.integral).assign_attrs(target.integral.attrs),
                        with_global(target.adjustment_variance), target.terms)  # fmt: skip
    other = full.integral.isel(product=[0]).assign_coords(product=["X-BASE"]) * 2 if references else None
    return Prepared(CELLS, GRID.cell_area, cube, observations, make_sites(), towers.predictors, full, other, NO_LIBRARY)


PREPARED = make_prepared()
assert PREPARED.target is not None
MAKE = constraint_maker(PREPARED.target, CUBE, CELLS, InversionTermSettings(), WHOLE_PERIOD)


def constant_ensemble(values: list[float], fold: list[int]) -> Ensemble:
    """Members whose flux is a constant each, with g = 10."""
    model = FluxModel.create(jax.random.key(0), len(CUBE.columns.names), CUBE.columns.invariant, {}, NETWORK)
    members = jax.tree.map(lambda a: jnp.zeros((len(values), *a.shape)), model)
    members.network.biases[-1] = jnp.asarray(values)[:, None] / 2.0
    g = replace(members.representativeness, intercept=jnp.full(len(values), 10.0))
    nowhere = jnp.zeros((len(values), 7, BASIS.size))
    return Ensemble(FluxModel(members.network, g, {}, nowhere, members.series), np.array(fold), NETWORK, CUBE.columns.names, BASIS)


# Towers


def test_a_tower_is_predicted_by_members_that_never_saw_it() -> None:
    """Members 1 and 3 left out fold 0, members 100 and 300 fold 1: fold 0 gets 2, fold 1 gets 200; g comes on top."""
    found = tower_predictions({"dual": constant_ensemble([1, 3, 100, 300], [0, 0, 1, 1])}, PREPARED)
    fold = PREPARED.sites.fold.loc[found.site].to_numpy()
    np.testing.assert_allclose(found.landscape, np.where(fold == 0, 2, 200))
    np.testing.assert_allclose(found.tower_like, found.landscape + 10)
    assert found.site_effect.isna().all()
    np.testing.assert_array_equal(found.observed, PREPARED.observations.nee)
    np.testing.assert_array_equal(found.group, PREPARED.sites.group.loc[found.site])


def test_a_tower_is_predicted_with_the_spatial_effect_of_its_place_and_season() -> None:
    """Coefficients of the mean 1, of the cosine 2 at every function: u = (1 + 2 sqrt(2) cos) x their sum, in f and in f + g."""
    blank = constant_ensemble([0, 0], [0, 1])
    spatial = jnp.broadcast_to(jnp.asarray([1.0, 2.0, *[0.0] * 5])[:, None], (2, 7, BASIS.size))
    ensemble = replace(blank, model=replace(blank.model, spatial=spatial))
    found = tower_predictions({"dual": ensemble}, PREPARED)
    at = PREPARED.sites.loc[found.site]
    phase = (pd.DatetimeIndex(found.time).month.to_numpy() - 0.5) / 12
    wanted = (1 + 2 * np.sqrt(2) * np.cos(2 * np.pi * phase)) * BASIS.at(at.lat.to_numpy(), at.lon.to_numpy()).sum(axis=1)
    np.testing.assert_allclose(found.landscape, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.tower_like, wanted + 10, rtol=1e-4, atol=1e-5)


def test_members_that_know_no_tower_predict_all() -> None:
    found = tower_predictions({"inversions": constant_ensemble([1, 5], [-1, -1])}, PREPARED)
    np.testing.assert_allclose(found.landscape, 3)


def test_every_variant_predicts_every_observation() -> None:
    both = {"towers": constant_ensemble([1, 2], [0, 1]), "plain": constant_ensemble([3, 4], [0, 1])}
    found = tower_predictions(both, PREPARED)
    assert (found.groupby("product").size() == len(PREPARED.observations)).all()
    assert list(dict.fromkeys(found["product"])) == ["towers", "plain"]


def test_what_a_site_adds_to_the_landscape_by_hand() -> None:
    """g = 10 everywhere, so 10 at every site; what is left is the site's mean residual."""
    predictions = tower_predictions({"dual": constant_ensemble([1, 3], [0, 1])}, PREPARED)
    found = representativeness_table(predictions).set_index("site")
    np.testing.assert_allclose(found.representativeness, 10, rtol=1e-6)
    site = predictions.site.iloc[0]
    rows = predictions[predictions.site == site]
    assert found.site_effect[site] == pytest.approx((rows.observed - rows.tower_like).mean()) and found.n[site] == len(rows)


# Regions


def by_metric(table: pd.DataFrame) -> pd.Series:
    return table.set_index(["product", "region", "metric"]).value


def member_table(shift: dict[str, float], run: str = "", noise: float = 0.0) -> pd.DataFrame:
    """Members of variants: the target's mean moved by `shift` [PgC month-1] for member 0 and by twice that for member 1."""
    mean = PREPARED.target.integral.mean("product")
    random = np.random.default_rng(0)

    def rows() -> Iterator[pd.DataFrame]:
        for variant, by in shift.items():
            for member in (0, 1):
                for time in MONTHS:
                    values = mean.sel(time=time).to_numpy() + by * (1 + member) + noise * random.normal(size=3)
                    yield pd.DataFrame({"run": run, "variant": variant, "member": member, "region": [*REGIONS, "global"], "time": time,
                                        "value": values})  # fmt: skip

    return pd.concat(list(rows()), ignore_index=True)


def test_the_regional_table_by_hand() -> None:
    """Ensemble mean moved by 0.15, 0.1 and 0.2 as a pair have an sd of 0.05; inversions as they are; the target their mean."""
    found = regional_table(member_table({"dual": 0.1}), make_prepared(references=True))
    assert list(found.columns) == ["product", "member", "region", "time", "value", "std", "unit"]
    assert set(found["product"]) == {"dual", "P0", "P1", "P2", "target", "X-BASE"} and set(found.unit) == {"PgC month-1"}
    assert not found.value.isna().any() and not found.duplicated(["product", "member", "region", "time"]).any()
    key = ["region", "time"]
    mean = found[found.member.isna()].set_index(["product", *key])
    dual, target = mean.loc["dual"], mean.loc["target"]
    np.testing.assert_allclose(dual.value, target.value.reindex(dual.index) + 0.15, rtol=1e-12)
    np.testing.assert_allclose(dual["std"], 0.1 / 2, rtol=1e-9)
    members = found[found.member.notna()].groupby(["member", *key]).value.sum()
    np.testing.assert_allclose((members[0] + members[1]) / 2, dual.value.reindex(members[0].index), rtol=1e-12)
    inversion = PREPARED.target.integral
    for product in ("P0", "P2"):
        stored = mean.loc[product].value.to_xarray().sel(region=[*REGIONS, "global"])
        np.testing.assert_array_equal(stored, inversion.sel(product=product))
    spread = target["std"].to_xarray().sel(region=[*REGIONS, "global"])
    np.testing.assert_allclose(spread, inversion.std("product", ddof=1), rtol=1e-9)


def test_the_parts_of_the_misfit_are_those_of_the_difference() -> None:
    """A variant 0.15 above the target in every month: offset^2 / variance; no misfit of cycle and anomaly to the target."""
    regional = regional_table(member_table({"dual": 0.1}), PREPARED)
    predictions = tower_predictions({"dual": constant_ensemble([1, 3, 2, 4], [0, 0, 1, 1])}, PREPARED)
    constraint = MAKE(None, None)
    summary = (
        summary_table(regional, predictions, pd.DataFrame(), constraint, "monthly", 1).set_index(["product", "region", "metric"]).value
    )
    variance = constraint.error.mean.mean(axis=(1, 3)).diagonal()
    for place, region in enumerate(REGIONS):
        offset = summary["dual", region, "chi_square_target_offset"]
        assert offset == pytest.approx(0.15**2 / variance[place], rel=1e-6)
        for part in ("cycle", "anomaly"):
            assert summary["dual", region, f"chi_square_target_{part}"] == pytest.approx(0, abs=1e-9)
        assert constraint.drawn is not None
        against_products = misfit(constraint.observed + 0.15 - constraint.products, constraint.drawn.own.error())
        for part, values in against_products.items():
            assert summary["dual", region, f"chi_square_{part}"] == pytest.approx(values[:, place].mean(), rel=1e-6)
    assert summary["dual", "global", "mean_annual"] == pytest.approx(12 * 0.15 + summary["target", "global", "mean_annual"], rel=1e-6)


def test_the_verdict_puts_variants_side_by_side() -> None:
    """Numbers of the summary, unchanged, each in its variant's column; a row that nobody has is not shown."""
    regional = regional_table(member_table({"towers": 0.5, "dual": 0.1}, noise=0.01), PREPARED)
    ensembles = {v: constant_ensemble([1, 3, 2, 4], [0, 0, 1, 1]) for v in ("towers", "dual")}
    summary = summary_table(regional, tower_predictions(ensembles, PREPARED), pd.DataFrame(), MAKE(None, None), "monthly", 1)
    table = verdict_table(summary)
    values = by_metric(summary)
    assert [c for c in table.columns if c in ("towers", "inversions", "plain", "dual")] == ["towers", "dual"]
    row = table[table.quantity == "mean annual flux, global"].iloc[0]
    for column in ("towers", "dual", "target"):
        assert row[column] == values[column, "global", "mean_annual"]
    assert row.unit == "PgC yr-1" and row.goal == "target"
    assert table[["towers", "dual"]].notna().any(axis=1).all() and not table.quantity.duplicated().any()


# What `prepare` keeps


@pytest.mark.parametrize(("time_step", "references"), [("monthly", True), ("daily", False)])
def test_what_was_prepared_comes_back(tmp_path: Path, time_step: str, references: bool) -> None:
    before = make_prepared(make_cube(4, time_step), references)
    save(before, tmp_path)
    after = load(tmp_path)
    for name in ("static", "seasonal", "dynamic", "centre", "scale"):
        np.testing.assert_array_equal(getattr(after.cube, name), getattr(before.cube, name))
    assert after.cube.columns == before.cube.columns
    for one, two in zip(after.cube.steps, before.cube.steps, strict=True):
        np.testing.assert_array_equal(one, two)
    for name in ("index", "land_area", "region_fraction"):
        np.testing.assert_array_equal(getattr(after.cells, name), getattr(before.cells, name))
    assert after.cells.region_names == before.cells.region_names and after.cells.grid.same_as(before.cells.grid)
    np.testing.assert_array_equal(after.land_area, before.land_area)
    np.testing.assert_array_equal(after.rows, before.rows)
    pd.testing.assert_frame_equal(after.observations, before.observations, rtol=1e-14, check_dtype=False)
    pd.testing.assert_frame_equal(after.sites, before.sites, rtol=1e-14, check_dtype=False)
    xr.testing.assert_identical(after.target.integral.drop_attrs(), before.target.integral.rename("integral").drop_attrs())
    assert after.target.integral.attrs == before.target.integral.attrs
    xr.testing.assert_equal(after.target.adjustment_variance, before.target.adjustment_variance)
    assert (after.target.name, after.target.kind) == (before.target.name, before.target.kind)
    pd.testing.assert_frame_equal(after.target.terms, before.target.terms)
    if before.references is None or after.references is None:
        assert before.references is None and after.references is None
    else:
        xr.testing.assert_equal(after.references, before.references)


def test_codes_of_sites_and_classes_stay_what_they_are(tmp_path: Path) -> None:
    before = make_prepared()
    names = {"S00": "007", "S01": "NA", "S02": "1e5"}
    sites = before.sites.rename(index=names)
    observations = before.observations.assign(site=before.observations.site.replace(names))
    save(Prepared(before.cells, before.land_area, before.cube, observations, sites, before.rows, before.target, None, NO_LIBRARY), tmp_path)
    after = load(tmp_path)
    assert list(after.sites.index) == list(sites.index)
    assert set(after.observations.site) == set(sites.index)


def test_references_of_an_earlier_run_do_not_stay_behind(tmp_path: Path) -> None:
    save(make_prepared(references=True), tmp_path)
    save(make_prepared(), tmp_path)
    assert load(tmp_path).references is None


def test_land_table_weighs_by_area() -> None:
    grid = Grid.global_regular(90.0)
    fraction = np.zeros((2, *grid.shape))
    fraction[0, 0], fraction[1, 1] = 1.0, 1.0
    cells = LandCells.build(grid, np.ones(grid.shape), Regions(("south", "north"), fraction))
    similarity = np.array([2.0, 0.5, 0.5, 0.5, 2.0, 2.0, 0.5, 0.5])  # one of four equal cells in the south, two in the north
    shares = pd.DataFrame({"no_flux_share": [0.25]}, index=["south"])
    filled = pd.DataFrame({"predictor": ["ta", "rain"], "filled_share": [0.1, 0.0], "dropped_share": [0.0, 0.0]})
    table = land_table(shares, filled, similarity, cells).set_index(["region", "metric"]).value
    assert table["south", "outside_applicability_share"] == pytest.approx(0.25)
    assert table["north", "outside_applicability_share"] == pytest.approx(0.5)
    assert table["global", "outside_applicability_share"] == pytest.approx(0.375)
    assert table["south", "no_flux_share"] == 0.25 and table["global", "filled_share_ta"] == 0.1
    assert ("global", "filled_share_rain") not in table.index

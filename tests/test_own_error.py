"""What one product errs, estimated from worlds whose errors are known: gaps, cut regions, common errors, regions without spread."""

import numpy as np
import pytest

from dualflux.constraints.inversions.covariance import EnsembleError, autoregressive_correlation, split_parts
from dualflux.constraints.inversions.ensemble_mean import family_means
from dualflux.constraints.inversions.own_error import PRIOR_DEGREES_OF_FREEDOM, OwnError, estimate_own_error
from dualflux.constraints.inversions.spread import PARTS, spread_of
from dualflux.errors import InputError

AREA = np.array([5.0, 5.0, 4.0]) * 1e13
CYCLE = 0.2 * np.cos(2 * np.pi * np.arange(12) / 12) * np.array([1, 0.3, -0.4]).reshape(3, 1, 1)


def world(seed: int = 0, count: int = 4, years: int = 10) -> np.ndarray:
    """Products of three regions that err alike and independently in offset, cycle and anomalies, (product, region, year, 12)."""
    random = np.random.default_rng(seed)
    lasting = 0.05 * random.normal(size=(count, 3, 1, 1)) + 0.02 * random.normal(size=(count, 3, 1, 12))
    return np.asarray(CYCLE + lasting + 0.03 * random.normal(size=(count, 3, years, 12)))


def sds(products: np.ndarray, area: np.ndarray = AREA, minimum_spread: float | None = None) -> dict[str, np.ndarray]:
    """Of each part, of the regions and, last, of their sum [PgC month-1]."""
    error = estimate_own_error(products, area, minimum_spread).error()
    parts = [np.concatenate(both) for both in zip(error.marginals(), error.marginals_of_total(), strict=True)]
    cycle, anomaly = (np.sqrt(np.einsum("rii->r", part)) for part in parts[1:])
    return {"offset": np.sqrt(parts[0]), "cycle": cycle, "anomaly": anomaly}


# Many products: what is there is found


def known() -> OwnError:
    """Two regions, each part with a correlation of its own, sds that change with the season."""
    between = [np.array([[1, r], [r, 2]]) * v for r, v in ((0.8, 0.3), (-0.5, 0.05), (1.2, 0.4), (0.6, 0.2), (-0.9, 0.02), (0.3, 0.1))]
    month, later = (f(2 * np.pi * (np.arange(12) - np.array([[0.0], [5.0]])) / 12) for f in (np.cos, lambda t: -np.sin(t)))
    factor = (np.eye(12) - 1 / 12) @ ((1 + 0.4 * month)[:, :, None] * np.linalg.cholesky(autoregressive_correlation(np.array(0.6))))
    shape = factor * np.sqrt(11 / (factor**2).sum(axis=(1, 2), keepdims=True))
    return OwnError(np.stack(between), np.full(6, 9.0), np.full(6, 4.0), np.stack([month, later], axis=1) / np.sqrt(6), shape)


def test_what_many_products_err_is_found() -> None:
    """200 ensembles of nine products and six years: standard errors of variances 3.5 % (offset, amplitude, phase), 1.6 % (annual)."""
    true, random = known(), np.random.default_rng(1)
    error, found = true.error(), []
    for _ in range(200):
        products = np.stack([error.draw(random, 6) for _ in range(9)]) + 30 * true.directions[:, :1]
        found.append(spread_of(products))
    size = np.sqrt(np.einsum("kr,ks->krs", *[np.einsum("krr->kr", true.covariance)] * 2))
    scatter = np.mean([s.scatter for s in found], axis=0)
    tolerance = {"offset": 0.15, "cycle": 0.05, "amplitude": 0.15, "phase": 0.15, "annual": 0.07, "monthly": 0.05}
    for name, one, two, scale in zip(PARTS, scatter, true.covariance, size, strict=True):
        np.testing.assert_allclose(one / scale, two / scale, atol=tolerance[name], err_msg=name)
    np.testing.assert_allclose(found[0].directions, true.directions, atol=0.02)
    shapes = np.mean([np.einsum("rik,rjk->rij", s.shape, s.shape) for s in found], axis=0)
    # an ensemble's own months are shrunk towards equal ones, 12 / (12 + 40)
    np.testing.assert_allclose(shapes, np.einsum("rik,rjk->rij", true.shape, true.shape), atol=0.3)


def test_parts_of_r_are_those_of_its_draws() -> None:
    """Covariances between regions of offset, along the cycle, its shift and across both, and of annual and monthly anomalies."""
    true = known()
    error = true.error()
    offset, cycle, annual, monthly = (true.covariance[PARTS.index(p)] for p in ("offset", "cycle", "annual", "monthly"))
    np.testing.assert_allclose(error.mean.mean(axis=(1, 3)), offset)
    along = [np.einsum("ri,risj,sj->rs", d, error.mean, d) for d in (true.directions[:, 0], true.directions[:, 1])]
    np.testing.assert_allclose(along, true.covariance[[PARTS.index("amplitude"), PARTS.index("phase")]], atol=1e-12)
    np.testing.assert_allclose(error.anomaly.mean(axis=(1, 3)), annual, atol=1e-12)
    for r in range(2):
        whole = np.trace(error.mean[r, :, r])
        assert whole == pytest.approx(12 * offset[r, r] + along[0][r, r] + along[1][r, r] + 9 * cycle[r, r])
        assert np.trace(error.anomaly[r, :, r]) == pytest.approx(12 * annual[r, r] + 11 * monthly[r, r])


def test_two_products_apart_by_hand() -> None:
    """d and -d apart in the mean: offsets' scatter 2 d d', one degree of freedom."""
    d = np.array([0.1, 0.3])
    products = np.stack([d, -d])[:, :, None, None] + np.random.default_rng(0).normal(size=(2, 2, 3, 12))
    products -= split_parts(products)[0][:, :, None, None] - np.stack([d, -d])[:, :, None, None]
    found = spread_of(products)
    np.testing.assert_allclose(found.scatter[0], 2 * np.outer(d, d))
    np.testing.assert_allclose(found.freedom, [1, 9, 1, 1, 2, 22])


def test_the_common_signal_of_all_products_is_no_error() -> None:
    products, signal = world(), np.random.default_rng(9).normal(size=(3, 10, 12))
    one, two = (spread_of(p) for p in (products, products + 100 * signal))
    np.testing.assert_allclose(one.scatter[[0, 4, 5]], two.scatter[[0, 4, 5]], rtol=1e-6, atol=1e-12)


def test_without_gaps_pairs_are_the_variance_between_products() -> None:
    """Divisor n - 1 in all parts, covariances between regions included."""
    products = world(3)
    offset, _, anomaly = split_parts(products)
    found = spread_of(products)
    np.testing.assert_allclose(found.scatter[0], np.cov(offset.T))
    off = (anomaly - anomaly.mean(axis=0)).mean(axis=-1)
    np.testing.assert_allclose(found.scatter[4], np.einsum("pry,psy->rs", off, off) / (3 * 9))
    np.testing.assert_allclose(found.freedom, [3, 27, 3, 3, 27, 297])
    np.testing.assert_allclose(found.products, 4)


# Products with gaps


@pytest.mark.parametrize("missing", [[0], [4], [9], [0, 1, 2]])
def test_a_product_that_misses_years_is_in_r_as_it_is_in_the_mean(missing: list[int]) -> None:
    """The fourth of four is 0.5 PgC/month too high everywhere: the sd of the offset is that of the full records, to 5 %."""
    products = world()
    products[3] += 0.5
    short = products.copy()
    short[3, :, missing] = np.nan
    full, found = sds(products), sds(short)
    assert (full["offset"][:3] > 0.2).all()
    for part in full:
        np.testing.assert_allclose(found[part], full[part], rtol=0.05)


def test_staggered_records_are_used() -> None:
    """No product has all years; 200 worlds: mean variances are the true ones to 10 % (offset 0.05, monthly anomalies 0.03)."""
    scatter, anomalies = [], []
    for seed in range(200):
        products = world(seed)
        products[1, :, :4], products[2, :, 6:], products[3, :, :4], products[0, :, 8:] = (np.nan,) * 4
        found = spread_of(products)
        scatter.append(np.diag(found.scatter[0]).mean())
        anomalies.append(np.diag(found.scatter[5]).mean())
    # the mean over years of a pair's anomalies, at least two of ten years, is in its offset
    assert np.mean(scatter) == pytest.approx(0.05**2, rel=0.1)
    assert np.mean(anomalies) == pytest.approx(0.03**2, rel=0.02)
    assert found.products[-1] < 3 < found.products[0]


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ([[1, 1, 1]], r"1 product\(s\), 0 year"),
        ([[1, 1, 0], [0, 1, 1]], r"2 product\(s\), 1 year.*add products or widen"),
    ],
)
def test_too_little_to_estimate_an_error_is_refused(present: list[list[int]], message: str) -> None:
    use = np.array(present, dtype=float)
    products = np.where(use[:, None, :, None] > 0, np.random.default_rng(0).normal(size=(len(use), 2, use.shape[1], 12)), np.nan)
    with pytest.raises(InputError, match=message):
        estimate_own_error(products, np.ones(2))


# No spread


def test_a_region_in_which_all_products_are_the_same_is_named() -> None:
    products = world()
    products[:, 1] = products[:1, 1]
    with pytest.raises(
        InputError, match=r"all products are the same in mid \(offset, cycle, amplitude, phase, annual, monthly\).*minimum_spread: 0.1"
    ):
        estimate_own_error(products, AREA, region_names=("north", "mid", "south"))
    with pytest.raises(InputError, match=r"same in region 1 .*region 2.*region 3"):
        estimate_own_error(np.repeat(products[:1], 4, axis=0), AREA)
    products[:, 1] = 0
    with pytest.raises(InputError, match=r"same in mid \(offset, cycle, annual, monthly\)"):
        estimate_own_error(products, AREA, region_names=("north", "mid", "south"))


@pytest.mark.parametrize("same", [0.0, 0.3])
def test_a_floor_touches_its_own_region_only(same: float) -> None:
    """0.06 PgC/yr where products are the same; the other regions are as if this one were not there."""
    products = world()
    products[:, 2] = same
    found, without = sds(products, minimum_spread=0.06), sds(products[:, :2], AREA[:2])
    assert found["offset"][2] == pytest.approx(0.005)
    for part in found:
        np.testing.assert_allclose(found[part][:2], without[part][:2])
        assert found[part][3] == pytest.approx(np.hypot(found[part][2], without[part][2]))
    everywhere = sds(np.repeat(products[:1], 4, axis=0), minimum_spread=0.06)
    np.testing.assert_allclose(everywhere["offset"], 0.005 * np.array([1, 1, 1, np.sqrt(3)]))


def test_a_floor_below_the_spread_changes_nothing() -> None:
    np.testing.assert_array_equal(sds(world(), minimum_spread=0.01)["offset"], sds(world())["offset"])


# Regions


def sd_of_first(error: EnsembleError, count: int) -> np.ndarray:
    """Sd of the sum of the first regions: offset, and all months of the mean year and of a year's anomalies; then of all regions."""
    part = [EnsembleError(error.mean[:n, :, :n], error.anomaly[:n, :, :n]).marginals_of_total() for n in (count, len(error.mean))]
    return np.sqrt([v for offset, cycle, anomaly in part for v in (offset[0], np.trace(cycle[0]), np.trace(anomaly[0]))])


@pytest.mark.parametrize("pieces", [2, 4])
def test_r_does_not_change_where_a_region_is_cut(pieces: int) -> None:
    """Cut into equal pieces whose errors are the same: 60 worlds of four: the median sd of the whole within 15 %, of the sum 10 %."""
    ratio = []
    for seed in range(60):
        products = world(seed)
        cut = np.concatenate([np.repeat(products[:, :1] / pieces, pieces, axis=1), products[:, 1:]], axis=1)
        area = np.r_[np.full(pieces, AREA[0] / pieces), AREA[1:]]
        ratio.append(
            sd_of_first(estimate_own_error(cut, area).error(), pieces) / sd_of_first(estimate_own_error(products, AREA).error(), 1)
        )
    middle = np.median(ratio, axis=0)
    assert (np.abs(middle[:3] - 1) < 0.15).all() and (np.abs(middle[3:] - 1) < 0.1).all()


def test_r_does_not_change_where_pieces_err_independently() -> None:
    """A region of four units of area beside the same four one by one: variance in proportion to area is the prior's own form."""
    ratio, area = [], np.array([1, 1, 1, 1, 4, 4.0])
    for seed in range(60):
        random = np.random.default_rng(seed)
        products = np.sqrt(area)[:, None, None] * (random.normal(size=(4, 6, 1, 1)) + random.normal(size=(4, 6, 4, 12)))
        whole = np.concatenate([products[:, :4].sum(axis=1, keepdims=True), products[:, 4:]], axis=1)
        one, two = estimate_own_error(products, area).error(), estimate_own_error(whole, np.full(3, 4.0)).error()
        ratio.append(sd_of_first(one, 4) / sd_of_first(two, 1))
    np.testing.assert_allclose(np.median(ratio, axis=0), 1, atol=0.06)


def test_an_error_that_regions_share_is_in_the_total() -> None:
    """Twelve regions, five products: offset 0.03 in common and 0.02 each, a fifth more or less of the cycle, anomalies 0.01 and 0.01.

    Root mean square over 100 ensembles of the total's sd over the true one, within 10 %; with independent regions it would be 0.36.
    """
    months = 0.05 * np.cos(2 * np.pi * np.arange(12) / 12)
    month = 12 * 0.01**2 + (12 * 0.01) ** 2  # of the total's anomalies; the mean of eight of them is in the cycle
    true = np.array([(12 * 0.03) ** 2 + 12 * 0.02**2, 0.2**2 * ((12 * months) ** 2).sum() + 11 * month / 8, 12 * month])
    found = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        offset = 0.03 * random.normal(size=(5, 1, 1, 1)) + 0.02 * random.normal(size=(5, 12, 1, 1))
        anomaly = 0.01 * random.normal(size=(5, 12, 8, 12)) + 0.01 * random.normal(size=(5, 1, 8, 12))
        products = (1 + 0.2 * random.normal(size=(5, 1, 1, 1))) * months + offset + anomaly
        found.append(sd_of_first(estimate_own_error(products, np.ones(12)).error(), 12)[3:] ** 2)
    np.testing.assert_allclose(np.sqrt(np.mean(found, axis=0) / true), 1, atol=0.1)


def test_errors_that_cancel_leave_the_total_well_known() -> None:
    """What one region has too much another has too little: the total's sd is far below that of independent regions."""
    random = np.random.default_rng(0)
    moved = random.normal(size=(6, 1, 1, 1)) * np.array([1, -0.5, -0.5]).reshape(3, 1, 1)
    found = sds(world(count=6) + moved)["offset"]
    assert found[3] < 0.4 * np.sqrt((found[:3] ** 2).sum())


def test_the_prior_counts_as_its_degrees_of_freedom() -> None:
    """Independent regions of one size and error, 400 ensembles of four: between regions (3 scatter + 3 x 0) / 6, of a region all of it."""
    scatter, found = np.zeros((2, 3, 3))
    for seed in range(400):
        products = world(seed)
        scatter += spread_of(products).scatter[0] / 400
        found += estimate_own_error(products, np.ones(3)).covariance[0] / 400
    assert PRIOR_DEGREES_OF_FREEDOM == 3
    np.testing.assert_allclose(np.diag(found) / np.diag(scatter), 1, atol=0.15)
    np.testing.assert_allclose(found - np.diag(np.diag(found)), 0, atol=0.1 * 0.05**2)


# Families


def test_releases_of_one_system_are_one_product() -> None:
    """Two copies of a product in one family: mean and R as without the copy; counted apart they would look like agreement."""
    random = np.random.default_rng(5)
    products = random.normal(size=(3, 2, 6, 12))
    doubled, families = np.concatenate([products, products[:1]]), ["a", "b", "c", "a"]
    found, names = family_means(doubled, families)
    assert names == ("a", "b", "c")
    np.testing.assert_allclose(found, products)


def test_a_release_that_begins_late_does_not_make_its_family_jump() -> None:
    """The second release is 5 higher and begins in the second year: the family is 2.5 higher than the first in every year."""
    random = np.random.default_rng(6)
    first = random.normal(size=(2, 4, 12))
    second = first + 5.0
    second[:, 0] = np.nan
    found, _ = family_means(np.stack([first, second]), ["a", "a"])
    np.testing.assert_allclose(found[0], first + 2.5, atol=1e-10)


def test_a_family_has_no_month_that_none_of_its_releases_has() -> None:
    products = np.random.default_rng(7).normal(size=(3, 2, 3, 12))
    products[:2, :, 0, :5] = np.nan
    products[0, :, 1] = np.nan
    found, _ = family_means(products, ["a", "a", "b"])
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(products[1]))
    assert np.isfinite(found[1]).all()

"""Spread of antithetic pairs: exact where pairs are all there is, unbiased where pairs differ and where members are independent."""

import numpy as np
import pytest

from dualflux.metrics.pairs import paired_std, paired_variance


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_pairs_about_one_mean_have_divisor_n(pairs: int) -> None:
    """3 +- h: the mean of h^2, whatever the number of pairs; divided by n - 1 it would be n / (n - 1) times as much."""
    half = np.random.default_rng(0).normal(size=pairs)
    members = 3 + np.stack([half, -half], axis=1).ravel()
    assert paired_variance(members) == pytest.approx((half**2).mean())
    assert paired_variance(members) == pytest.approx(members.var(ddof=1) * (2 * pairs - 1) / (2 * pairs))


@pytest.mark.parametrize(("between", "within"), [(0.0, 1.0), (0.7, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_the_variance_is_unbiased(between: float, within: float) -> None:
    """100 000 ensembles of four members: pairs' means of variance `between`, halves of `within`; both 0.5 is four independent members."""
    random = np.random.default_rng(1)
    mean, half = np.sqrt(between) * random.normal(size=(2, 100_000)), np.sqrt(within) * random.normal(size=(2, 100_000))
    members = np.stack([mean + half, mean - half], axis=1).reshape(4, -1)
    assert paired_variance(members).mean() == pytest.approx(between + within, rel=0.02)


def test_odd_members_and_one_alone() -> None:
    members = np.array([1.0, 2.0, 4.0])
    assert paired_std(members) == pytest.approx(members.std(ddof=1))
    assert np.isnan(paired_std(members[:1]))

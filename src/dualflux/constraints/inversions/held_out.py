"""What years that a member was not given say of it: their density given the years it was given, under a claim about R.

A weight w is a claim about R: that the inversions err with covariance R / w. It is judged by the density of unseen data that the claim
gives, normalised: of d residuals with the stated misfit q = r' R^-1 r,

    log p = d / 2 log w - w q / 2 - log det(2 pi R) / 2,    largest at w = d / q.

Without the first term, in R / w, a small weight would always win. In one R for all candidates, without w, no claim about R is heard:
where R is a factor of 30 too large all candidates look alike, where it is too small the largest weight wins. Normalised it is the claim
itself that is tested: residuals of unseen years are as large as it says, or they are not.

What all years have in common, R's offset and cycle M, is in the unseen years as it was in those that the member was fitted to:
their residuals do not tell it. They tell contrasts between years, so every unseen year is predicted from the mean residual of the n
years before it (first those the member was given, then unseen ones in their order): its residual less that mean is
N(0, (1 + 1/n) A / w), independent of all others (the restricted likelihood of the anomalies, year by year). M is tested by
the other constraints alone: too large a weight bends the flux where unseen towers stand.

A residual of unseen years holds the flux that the model misses too. So w is the R of what is compared, inversions minus model: below 1
it says that they differ by more than inversions err, for whichever reason.
"""

import numpy as np


def predictive_loss(residual: np.ndarray, seen: np.ndarray, anomaly: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Negative log density of the unseen years, (member, unit) [nats]: a unit is a year, or a region where one year alone is unseen.

    Parameters
    ----------
    residual : array, (member, region, year, 12)
        Integrals of the model minus the inversions [PgC month-1].
    seen : array of bool, (year,)
    anomaly : array, (region, 12, region, 12)
        A [(PgC month-1)^2].
    weight : array, (member,)
        Claims about R.
    """
    shift, count = contrasts(residual, seen)
    regions, size = residual.shape[1], 12 * residual.shape[1]
    value, vector = np.linalg.eigh(anomaly.reshape(size, size))
    whitener = (vector / np.sqrt(value)) @ vector.T  # symmetric: a component belongs to its own region and month
    white = np.einsum("ij,mjy->miy", whitener, np.moveaxis(shift, 3, 2).reshape(len(shift), size, -1))
    white = white.reshape(len(shift), regions, 12, -1) * np.sqrt(weight)[:, None, None, None] / np.sqrt(1 + 1 / count)
    spread = np.log(value).sum() / size + np.log(2 * np.pi * (1 + 1 / count)) - np.log(weight)[:, None]  # log variance of a component
    each = (white**2).sum(axis=2) / 2 + 6 * spread[:, None]
    return np.asarray(each[..., 0] if each.shape[-1] == 1 else each.sum(axis=1))


def contrasts(residual: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unseen years' residuals less the mean of those before them, (member, region, unseen year, 12), and of how many, (unseen year,)."""
    order = np.r_[np.flatnonzero(seen), np.flatnonzero(~seen)]
    given, ordered = int(seen.sum()), residual[:, :, order]
    before = np.cumsum(ordered, axis=2)[:, :, given - 1 : -1]
    count = np.arange(given, len(order))
    return ordered[:, :, given:] - before / count[:, None], count

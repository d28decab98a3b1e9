"""What the mean of a few inversions errs: its own part, which the spread shows, and a common part, which it does not.

Products x_p = c + own_p scatter about a centre c with variance s^2 each; the truth lies off the centre by what all of them have in
common, of variance k^2 s^2. So, part by part,

    variance of truth about the mean of n products = s^2 (k^2 + 1/n),

k = 1: truth is one more product (exchangeable); k = 0: the products centre on it. Nothing in the spread tells k: it has a
stated prior, half-normal with sd 0.7. Neither is s^2 known: from few products its distribution is s^2 times nu over a
chi-square of nu, the degrees of freedom of its estimate and prior. Both are drawn anew for every pair of members.

Exact: a member's target is a draw from this mixture, (k, s) drawn first, then the error given them. Approximate: all members weigh
their residuals with one R, the mixture's mean, s^2 nu / (nu - 2) (E k^2 + 1/n). Of linear parts the members' covariance is
then that of the posterior under this R (draws enter linearly, and their covariance is R on average); heavier tails than normal
remain in the members, weakened; k and s^2 are not updated by what towers and other data say of them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dualflux.constraints.inversions.covariance import EnsembleError
from dualflux.constraints.inversions.own_error import OwnError

COMMON_SHARE_SD = 0.7  # of the half-normal prior of k; k = 1, errors that are common as much as own, is at 1.4 of it
FIXED_SHARE = {"exchangeable": 1.0, "centred": 0.0}
SpreadKind = Literal["common", "exchangeable", "centred"]


@dataclass(frozen=True, eq=False)
class MeanError:
    """Of the ensemble's mean.

    Attributes
    ----------
    own : OwnError
        Of one product.
    spread : {"common", "exchangeable", "centred"}
        Whether k is drawn, 1 or 0.
    adjustment : array, (region, 12)
        Sd of the adjustments of the mean by calendar month [PgC month-1]; one error for all months and years of a region.
    """

    own: OwnError
    spread: SpreadKind
    adjustment: np.ndarray

    @property
    def share_squared(self) -> float:
        """E k^2."""
        return COMMON_SHARE_SD**2 if self.spread == "common" else FIXED_SHARE[self.spread] ** 2

    @property
    def share_sd(self) -> float:
        """Sd of k in its prior; the posterior is the same."""
        return COMMON_SHARE_SD * float(np.sqrt(1 - 2 / np.pi)) if self.spread == "common" else 0.0

    @property
    def inflation(self) -> np.ndarray:
        """Mean of the drawn over the estimated variance, nu / (nu - 2), (part,)."""
        return self.own.freedom / (self.own.freedom - 2)

    def expected(self) -> EnsembleError:
        """R: the mean over k and s^2."""
        return self._given(self.inflation, self.share_squared)

    def at_share(self, share: float) -> EnsembleError:
        """The mean over s^2 at a stated k."""
        return self._given(self.inflation, share**2)

    def of_product(self) -> tuple[EnsembleError, EnsembleError]:
        """The mean over s^2 and k of the own error of one product, and of what all products have in common with the adjustments'."""
        own = self.own.error(self.inflation)
        return own, own.scaled(self.share_squared).plus(self._of_adjustments())

    def draw(self, random: np.random.Generator, years: int) -> np.ndarray:
        """One realisation with k and s^2 of its own, (region, year, month) [PgC month-1]."""
        share = abs(random.normal()) * COMMON_SHARE_SD if self.spread == "common" else FIXED_SHARE[self.spread]
        scale = self.own.freedom / random.chisquare(self.own.freedom)
        return self._given(scale, share**2).draw(random, years)

    def _given(self, scale: np.ndarray, share_squared: float) -> EnsembleError:
        """Of known k and s^2, the latter as a factor on the estimate, (part,)."""
        error = self.own.error(scale * (share_squared + 1 / self.own.products))
        return error.plus(self._of_adjustments())

    def _of_adjustments(self) -> EnsembleError:
        sd, regions = self.adjustment, len(self.adjustment)
        mean = np.einsum("rs,ri,sj->risj", np.eye(regions), sd, sd)
        return EnsembleError(mean, np.zeros_like(mean))

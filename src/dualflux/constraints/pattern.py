"""A prior of the pattern of lasting fluxes inside regions.

Where no tower stands nothing but a region's integral is known, and a network could make a source of one half of a region and a sink of
the other at no cost. What is known before any data: the lasting flux per vegetated land g(x) = f(x) / c(x), c the vegetation scale, is
about the same in places that are near each other and alike. With points x_1 .. x_n spread over vegetated land, at most 300::

    e = g - D,    D_r = sum over the points of a region of c g / sum of c,    e ~ N(0, tau^2 K),
    K_ij = exp(-d_ij / L) exp(-|p_i - p_j|^2 / 2),

d the distance, L = 700 km, p the static predictors scaled so that two random points are 2 apart in mean square. The densities D of
regions are left free: data tell them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.base import Constraint, Draw, Equations, Flux, Landscape, LinearMember, Normal, Plan, Term
from dualflux.cube import Cube
from dualflux.geometry.sphere import MEAN_RADIUS_KM, angle_of, spread_out, unit_vectors
from dualflux.grid import LandCells

MOST_POINTS = 300
APART = 600.0  # km between points, where there is room
LENGTH = 700.0  # km: L
LEAST_VEGETATED = 0.1  # of the vegetation scale: land with less has hardly any flux to be restrained
STEPS = 4  # that a lasting flux is the mean of, spread over seasons and years


class Pattern(Constraint):
    """Points of the prior.

    Attributes
    ----------
    rows : array, (point, step, predictor)
    whiten : array, (point, point)
        Square root of the precision of e over tau^-2, times what makes e of the points' lasting fluxes f.
    points : array of int, (point,)
        Their cells.
    """

    name: ClassVar[str] = "pattern"
    label: ClassVar[str] = "pattern of lasting fluxes inside regions (a prior)"

    rows: jax.Array
    whiten: jax.Array
    points: jax.Array

    @classmethod
    def create(cls, cube: Cube, cells: LandCells) -> "Pattern":
        """Spread points over vegetated land."""
        vegetated = cube.vegetated()
        points = points_on_land(cells.lat(), cells.lon(), vegetated >= LEAST_VEGETATED)
        root = np.linalg.cholesky(kernel(cells.lat()[points], cells.lon()[points], cube.static[points]))
        share = cells.region_fraction[:, points].T
        centred = deviation(np.column_stack([share, 1 - share.sum(axis=1)]), vegetated[points])
        rows = cube.rows(*np.broadcast_arrays(cube.spread_steps(STEPS), points[:, None]))
        return cls(jnp.asarray(rows), jnp.asarray(np.linalg.solve(root, centred), jnp.float32), jnp.asarray(points))

    def parts(self, plans: Sequence[Plan]) -> jax.Array:
        """1: every member has it."""
        return jnp.ones(len(plans))

    def term(self, part: jax.Array, sd: dict[str, jax.Array], key: jax.Array, control: Any) -> tuple[jax.Array, Term]:
        """e' K^-1 e / (2 tau^2)."""
        return part, lambda model: (self.standardised(model) ** 2).sum() / (2 * sd["pattern"] ** 2)

    def standardised(self, model: Flux) -> jax.Array:
        """K^-1/2 e, (point,)."""
        found: jax.Array = self.whiten @ model.landscape(self.rows).mean(axis=1)
        return found

    def linear(self, landscape: Landscape) -> "PatternEquations":
        """The prior in the linear step."""
        cube, cells, basis = landscape
        points, rows = np.asarray(self.points), np.asarray(self.rows)
        phi = basis.at(cells.lat()[points], cells.lon()[points]) * cube.vegetated()[points, None]
        return PatternEquations(rows.reshape(-1, rows.shape[-1]), np.asarray(self.whiten, np.float64), phi)


@dataclass(frozen=True, eq=False)
class PatternEquations:
    """Data of e: all zero, with the error tau K^1/2.

    Attributes
    ----------
    rows : array, (point x step, predictor)
    whiten : array, (point, point)
    basis : array, (point, place)
        What lasting fluxes are of u's lasting coefficients.
    """

    rows: np.ndarray
    whiten: np.ndarray
    basis: np.ndarray
    areas: None = None

    def equations(self, member: LinearMember) -> Equations:
        """Over readout and u's lasting part."""
        place = member.layout.places(["readout", "spatial_lasting"])
        features = member.columns.reshape(len(self.whiten), -1, member.columns.shape[-1]).mean(axis=1)
        design = self.whiten @ np.column_stack([features, self.basis]) / float(member.sd["pattern"])
        matrix, own = design.T @ design, member.sign * member.random.standard_normal(len(design))

        def at(parameters: np.ndarray, draw: Draw | None = None) -> Normal:
            noise = own if draw is None else draw.sign * draw.random.standard_normal(len(design))
            return Normal(place, matrix, np.column_stack([np.zeros(len(place)), design.T @ noise]))

        return at


def points_on_land(lat: np.ndarray, lon: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Cells as far from each other as can be, until none in use is farther than `APART` from one or `MOST_POINTS` are taken."""
    cell = np.flatnonzero(use)
    return np.sort(cell[spread_out(unit_vectors(lat[cell], lon[cell]), APART, MOST_POINTS)])


def kernel(lat: np.ndarray, lon: np.ndarray, static: np.ndarray) -> np.ndarray:
    """K, (point, point)."""
    where = unit_vectors(lat, lon)
    near = np.exp(-MEAN_RADIUS_KM * angle_of(where @ where.T) / LENGTH)
    predictors = static.astype(np.float64)
    square = ((predictors[:, None] - predictors) ** 2).sum(axis=-1)
    usual = square.sum() / max(len(square) * (len(square) - 1), 1)
    return np.asarray(near * np.exp(-square / usual)) if usual > 0 else near


def deviation(share: np.ndarray, vegetated: np.ndarray) -> np.ndarray:
    """What makes e of the lasting fluxes f of points, (point, point).

    Parameters
    ----------
    share : array, (point, region)
        Of a point's land that is a region's; rows sum to 1.
    vegetated : array, (point,)
        c, above 0.

    Examples
    --------
    >>> import numpy as np
    >>> e = deviation(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 0.5, 1.0]))
    >>> (e @ np.array([3.0, 1.5, 7.0])).round(12)  # 3 per vegetated land at both points of the first region
    array([0., 0., 0.])
    """
    weight = share * vegetated[:, None]
    density = share.T / np.maximum(weight.sum(axis=0), 1e-12)[:, None]  # of f, (region, point)
    return np.asarray(np.diag(1 / vegetated) - share @ density)

"""Normal equations of towers: generalised least squares in the covariance V of their errors.

What sites have of their own, their years and the errors' memory are integrated out: they stand in V (see `row_errors`). What
does not vary between years needs the sites' sums alone: u is a site's basis functions times three functions of the season.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dualflux.constraints.areas import Areas
from dualflux.constraints.base import Draw, Equations, Landscape, LinearMember, Normal
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.constraints.towers.records import OWN, Records
from dualflux.constraints.towers.row_errors import RowErrors
from dualflux.constraints.towers.site_spread import PARTS, lasting, own_sd
from dualflux.model.spatial_effect import HARMONICS, harmonics
from dualflux.model.time_effect import time_columns

ROUNDS = 4  # of errors and their weights at one solution
EFFECTS = ("readout", "series", "spatial_lasting", "spatial_seasonal", "spatial_shape", "representativeness_mean", "representativeness")


@dataclass(frozen=True, eq=False)
class TowerEquations:
    """What all members share; rows are in the order of `records`.

    Attributes
    ----------
    records : Records
    towers : TowerConstraint
    degrees_of_freedom : float
    rows : array float32, (row, predictor)
        Predictors.
    constant : array, (row, harmonic + invariant)
        Functions of the season that u is made of, the first of them 1, and predictors that do not vary between years: g's.
    place : array, (site, basis function)
        Of u, times the site's vegetation scale.
    series : array, (row, series x zone)
        Columns of predictors of time alone, times the same.
    """

    records: Records
    towers: TowerConstraint
    degrees_of_freedom: float
    rows: np.ndarray
    constant: np.ndarray
    place: np.ndarray
    series: np.ndarray
    areas: Areas | None = None

    @classmethod
    def create(cls, towers: TowerConstraint, records: Records, landscape: Landscape, degrees_of_freedom: float) -> "TowerEquations":
        """Put together what the normal equations need beside the hidden layers."""
        cube, order = landscape.cube, records.order
        step = cube.steps.time.get_indexer(towers.time[order])
        lat, lon = towers.sites.lat.to_numpy(), towers.sites.lon.to_numpy()
        rows = towers.predictors[order]
        season = harmonics(cube.steps.season[step], len(cube.seasonal))
        constant = np.column_stack([season, rows[:, : cube.columns.invariant].astype(np.float64)])
        scale = cube.vegetated(rows)
        of_site = np.zeros(len(lat))
        of_site[records.site] = scale  # static columns are the same in all rows of a site
        series = scale[:, None] * time_columns(cube.series[step], lat[records.site])
        place = of_site[:, None] * landscape.basis.at(lat, lon)
        return cls(records, towers, degrees_of_freedom, rows, constant, place, series)

    def equations(self, member: LinearMember) -> Equations:
        """The errors' scale stays where training ended; Student-t weights follow the solution, or are drawn."""
        order, part, own = self.records.order, member.part, member.own
        place = member.layout.places(EFFECTS)
        columns = np.column_stack([member.columns, self.series]) if self.series.shape[1] else member.columns
        trained = self.expected(columns, member.trained[place])
        scale = np.exp(own.log_error_floor) + np.exp(own.log_error_growth) * np.abs(trained)
        share, days = 1 / (1 + np.exp(-float(own.memory_logit))), float(np.exp(own.log_memory_days))
        white = self.towers.uncertainty[order].astype(np.float64) ** 2 + (1 - share) * scale**2
        use = (part.use + part.validation)[self.records.site].astype(np.float64)
        sd = {p: float(member.sd[f"site_{p}"]) for p in PARTS}
        own_columns = lasting(self.records, own_sd(sd, self.towers.amplitude), sd["year"] * scale)
        errors = ErrorModel(self.records, use, white, np.sqrt(share) * scale, days, own_columns, self.degrees_of_freedom, len(OWN))
        return self.heavy_tailed(columns, errors, place, float(part.weight), member.random, member.sign)

    def heavy_tailed(
        self, features: np.ndarray, model: "ErrorModel", place: np.ndarray, weight: float, random: np.random.Generator, sign: float
    ) -> Equations:  # fmt: skip
        """Normal equations with Student-t weights at a solution, or with weights and errors drawn given one.

        Parameters
        ----------
        features : array, (row, feature)
            All columns that vary between years.
        model : ErrorModel
        place : array of int
            Positions of `EFFECTS` among all unknowns.
        weight : float
            Power of the likelihood.
        random : Generator
            Of the member's own draw of the errors, which has its sign.
        """
        observed = self.towers.observed[self.records.order].astype(np.float64)
        if weight == 0:
            nothing = Normal(place, np.zeros((len(place), len(place))), np.zeros((len(place), 2)))
            return lambda parameters, draw=None: nothing
        seed = int(random.integers(2**63))

        def at(parameters: np.ndarray, draw: Draw | None = None) -> Normal:
            residual = observed - self.expected(features, parameters[place])
            errors = model.at(residual) if draw is None else model.drawn(residual, draw.random)
            lasting, once = errors.draw(np.random.default_rng(seed) if draw is None else draw.random)
            noise = (sign if draw is None else draw.sign) * (lasting + once)
            matrix, values = self.normal(features, errors, np.column_stack([observed, noise]))
            return Normal(place, weight * matrix, values * [weight, np.sqrt(weight)])

        return at

    def expected(self, features: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Expected tower flux [gC m-2 d-1], (row,), of features (row, feature) and parameters in the order of `EFFECTS`."""
        width, places = features.shape[1], self.place.shape[1]
        u = parameters[width : width + HARMONICS * places].reshape(HARMONICS, places)
        mean, slopes = parameters[width + u.size], parameters[width + u.size + 1 :]
        season, invariant = self.constant[:, :HARMONICS], self.constant[:, HARMONICS:]
        of_site = (self.place @ u.T)[self.records.site]
        return np.asarray(features @ parameters[:width] + (season * of_site).sum(axis=1) + mean + invariant @ slopes)

    def normal(self, features: np.ndarray, errors: RowErrors, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """X' V^-1 X and X' V^-1 v of the towers' design X = [features | u | 1 | invariant].

        Parameters
        ----------
        features : array, (row, feature)
        errors : RowErrors
            V.
        values : array, (row, 2)
            v.
        """
        width, place = features.shape[1], self.place
        gram = errors.gram(np.column_stack([features, self.constant, values]))
        plain = np.r_[np.arange(width), width, np.arange(width + HARMONICS, gram.shape[1])]  # all but u, then v
        season = np.arange(width, width + HARMONICS)
        common = gram[:, plain][:, :, plain].sum(axis=0)
        u_plain = np.einsum("swp,sk->wkp", gram[:, season][:, :, plain], place, optimize=True).reshape(-1, len(plain))
        weighted = [place.T @ (gram[:, a, b, None] * place) for a in season for b in season]
        u_u = np.array(weighted).reshape(HARMONICS, HARMONICS, *weighted[0].shape).transpose(0, 2, 1, 3).reshape(len(u_plain), -1)
        x = slice(width, len(plain) - 2)  # 1 and invariant
        matrix = np.block([
            [common[:width, :width], u_plain[:, :width].T, common[:width, x]],
            [u_plain[:, :width], u_u, u_plain[:, x]],
            [common[x, :width], u_plain[:, x].T, common[x, x]],
        ])  # fmt: skip
        return matrix, np.concatenate([common[:width, -2:], u_plain[:, -2:], common[x, -2:]])


class Weights(NamedTuple):
    """Precisions of heavy-tailed errors, over those of their squared scale.

    Attributes
    ----------
    once : array, (row,)
        Of e.
    site : array, (site,)
        Of what a site has of its own.
    """

    once: np.ndarray
    site: np.ndarray


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Errors of the rows but for the weights of e and b, both Student-t: normal with a precision of its own for every row and site.

    Attributes
    ----------
    records : Records
    use : array, (row,)
        How often a row counts; 0 leaves it out.
    white : array, (row,)
        Squared scale of e.
    memory : array, (row,)
        Sd of s.
    memory_days : float
    lasting : array, (row, unknown)
        See `RowErrors`.
    degrees_of_freedom : float
    own : int
        How many of `lasting` are functions of b, in front: those have tails.
    """

    records: Records
    use: np.ndarray
    white: np.ndarray
    memory: np.ndarray
    memory_days: float
    lasting: np.ndarray
    degrees_of_freedom: float
    own: int = 0

    @property
    def on(self) -> np.ndarray:
        """Functions of b whose sd is not 0."""
        return np.flatnonzero(self.lasting[:, : self.own].any(axis=0))

    def normal(self) -> Weights:
        """As if nothing had tails."""
        return Weights(np.ones(len(self.use)), np.ones(len(self.records.first) - 1))

    def weighted(self, weight: Weights) -> RowErrors:
        """V with these weights."""
        lasting = self.lasting.copy()
        lasting[:, : self.own] /= np.sqrt(weight.site)[self.records.site, None]
        return RowErrors.create(self.records, self.use * weight.once / self.white, self.memory, self.memory_days, lasting)

    def at(self, residual: np.ndarray) -> RowErrors:
        """V with the weights that are expected of e and b given residuals (row,): each follows the others, `ROUNDS` times."""
        return self.weighted(self._expected(residual))

    def _expected(self, residual: np.ndarray) -> Weights:
        weight, freedom = self.normal(), self.degrees_of_freedom
        for _ in range(ROUNDS):
            errors = self.weighted(weight)
            own, once = errors.given(residual)
            square = (own**2 + errors.variance_of_unknowns())[:, self.on].sum(axis=1) / weight.site
            weight = Weights((freedom + 1) / (freedom + once**2 / self.white), (freedom + len(self.on)) / (freedom + square))
        return weight

    def drawn(self, residual: np.ndarray, random: np.random.Generator) -> RowErrors:
        """V with weights drawn given residuals (row,): e and b given their weights, and weights given e and b, in turns (Geweke 1993,
        J. Appl. Econometrics 8, S19)."""
        weight, freedom = self._expected(residual), self.degrees_of_freedom
        for _ in range(ROUNDS):
            own, once = self.weighted(weight).draw_given(residual, random)
            square = (own[:, self.on] ** 2).sum(axis=1) / weight.site
            weight = Weights(
                random.gamma((freedom + 1) / 2, 2 / (freedom + once**2 / self.white)),
                random.gamma((freedom + len(self.on)) / 2, 2 / (freedom + square)),
            )
        return self.weighted(weight)

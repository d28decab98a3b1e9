"""Normal equations of towers: what does not vary between years is constant in a (site, season), and needs the groups' sums alone."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from dualflux.constraints.areas import Areas
from dualflux.constraints.base import AnomalyPart, Equations, Landscape, LinearMember, Normal
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.constraints.towers.regional_anomalies import RowsInRegions
from dualflux.model.spatial_effect import harmonics
from dualflux.model.time_effect import time_columns

GROUPED = ("spatial_lasting", "spatial_seasonal", "representativeness_mean", "representativeness")


@dataclass(frozen=True, eq=False)
class TowerEquations:
    """What all members share.

    Attributes
    ----------
    order : array of int, (row,)
        Tower rows by site and season.
    start : array of int, (group,)
        First row of each (site, season) in that order.
    group_site : array of int, (group,)
    constant : array, (group, 3 x place + 1 + invariant)
        Columns of u, of g's intercept and of g's slopes.
    towers : TowerConstraint
    degrees_of_freedom : float
    rows : array float32, (row, predictor)
        Predictors, in `order`.
    series : array, (row, series x zone)
        Columns of predictors of time alone, in `order`: they vary between years and stand beside the hidden features.
    regions : RowsInRegions
        What the rows, in `order`, see of regional anomalies.
    """

    order: np.ndarray
    start: np.ndarray
    group_site: np.ndarray
    constant: np.ndarray
    towers: TowerConstraint
    degrees_of_freedom: float
    rows: np.ndarray
    series: np.ndarray
    regions: RowsInRegions
    areas: Areas | None = None

    @classmethod
    def create(cls, towers: TowerConstraint, landscape: Landscape, degrees_of_freedom: float) -> "TowerEquations":
        """Put together what the normal equations need beside the hidden layers."""
        cube = landscape.cube
        step, seasons = cube.steps.time.get_indexer(towers.time), len(cube.seasonal)
        season = cube.steps.season[step]
        order = np.lexsort((season, towers.site))
        start = np.flatnonzero(np.r_[True, np.diff(towers.site[order] * seasons + season[order]) != 0])
        first = order[start]
        lat, lon = towers.sites.lat.to_numpy(), towers.sites.lon.to_numpy()
        place = landscape.basis.at(lat, lon)[towers.site[first]]
        wave = np.einsum("gh,gk->ghk", harmonics(season[first], seasons), place).reshape(len(first), -1)
        invariant = towers.predictors[first, : cube.columns.invariant].astype(np.float64)
        constant = np.column_stack([wave, np.ones(len(first)), invariant])
        series = time_columns(cube.series[step], lat[towers.site])[order]
        regions = RowsInRegions(landscape.cells.region_fraction, towers.sites.cell.to_numpy()[towers.site[order]], towers.time[order])
        return cls(order, start, towers.site[first], constant, towers, degrees_of_freedom, towers.predictors[order], series, regions)

    def names(self) -> tuple[str, ...]:
        """Effects that towers load on, in the order of their columns."""
        return ("readout", "series", *GROUPED, "site_effect")

    def equations(self, member: LinearMember) -> Equations:
        """Student-t weights follow the solution; the errors' scale stays where training ended."""
        order, part, own = self.order, member.part, member.own
        site_use = (part.use + part.validation)[self.towers.site[order]]
        use = (part.weight * site_use * self.towers.weight[order]).astype(np.float64)
        noise = member.sign * member.random.standard_normal(len(order))
        place = member.layout.places(self.names())
        columns = np.column_stack([member.columns, self.series]) if self.series.shape[1] else member.columns
        trained = self.expected(columns, member.trained[place])
        structural = np.exp(own.log_error_floor) + np.exp(own.log_error_growth) * np.abs(trained)
        scale = np.sqrt(self.towers.uncertainty[order].astype(np.float64) ** 2 + structural**2)
        load = None if member.anomaly_years is None else self.regions.loading(member.anomaly_years)
        return self.heavy_tailed(columns, use, scale, noise, place, load)

    def heavy_tailed(
        self, features: np.ndarray, use: np.ndarray, scale: np.ndarray, noise: np.ndarray, place: np.ndarray,
        load: sparse.csr_array | None = None,
    ) -> Equations:  # fmt: skip
        """Normal equations with Student-t weights at a solution.

        Parameters
        ----------
        features : array, (row, feature)
            All columns that vary within a group, in `order`, like all rows.
        use : array, (row,)
            Effective number of data of each row, times the towers' weight; 0 leaves it out.
        scale : array, (row,)
            Of the error [gC m-2 d-1].
        noise : array, (row,)
            Standard normal draw of the errors.
        place : array of int
            Positions of `names` among all unknowns.
        load : sparse array, (anomaly, row), optional
            What a row sees of regional anomalies, which stand behind all other unknowns of a solution.
        """
        observed, freedom = self.towers.observed[self.order].astype(np.float64), self.degrees_of_freedom

        def at(parameters: np.ndarray) -> Normal:
            expected = self.expected(features, parameters[place])
            if load is not None and len(parameters) > load.shape[0]:
                expected = expected + load.T @ parameters[-load.shape[0] :]
            distance = (observed - expected) / scale
            weight = use * (freedom + 1) / (freedom + distance**2) / scale**2
            values = np.column_stack([weight * observed, np.sqrt(weight) * noise])
            alone = None if load is None else self.anomaly_part(load, features, weight, values)
            return Normal(place, *self.normal(features, weight, values), alone)

        return at

    def anomaly_part(self, load: sparse.csr_array, features: np.ndarray, weight: np.ndarray, values: np.ndarray) -> AnomalyPart:
        """What the towers say of regional anomalies: A' W A, A' W X and A' v of the design X of `normal`.

        Parameters
        ----------
        load : sparse array, (anomaly, row)
        """
        weighted = load.multiply(weight).tocsr()
        group = np.repeat(np.arange(len(self.start)), np.diff(np.r_[self.start, len(weight)]))
        by_group = weighted @ sparse.csr_array((np.ones(len(group)), (np.arange(len(group)), group)))
        groups, sites = len(self.start), len(self.towers.sites)
        site = sparse.csr_array((np.ones(groups), (np.arange(groups), self.group_site)), (groups, sites))
        couple = np.concatenate([weighted @ features, by_group @ self.constant, (by_group @ site).toarray()], axis=1)
        return AnomalyPart(self.regions.by_year((weighted @ load.T).tocoo()), couple, load @ values)

    def expected(self, features: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Expected tower flux [gC m-2 d-1], (row,) in `order`, of features (row, feature) and parameters in the order of `names`."""
        width, constant = features.shape[1], self.constant
        ends = width + constant.shape[1]
        fixed = constant @ parameters[width:ends] + parameters[ends:][self.group_site]
        return features @ parameters[:width] + np.repeat(fixed, np.diff(np.r_[self.start, len(features)]))

    def normal(self, features: np.ndarray, weight: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """X' W X and X' v of the towers' design X = [features | constant of the group | site].

        Parameters
        ----------
        features : array, (row, feature)
        weight : array, (row,)
        values : array, (row, 2)
            v: weights times right-hand sides.
        """
        sites, constant = len(self.towers.sites), self.constant

        def by_group(rows: np.ndarray) -> np.ndarray:
            return np.add.reduceat(rows, self.start, axis=0)

        def by_site(groups: np.ndarray) -> np.ndarray:
            total = np.zeros((sites, groups.shape[1]))
            np.add.at(total, self.group_site, groups)
            return total

        weighted = features * weight[:, None]
        group_features, group_weight, group_values = by_group(weighted), by_group(weight[:, None]), by_group(values)
        matrix = np.block([
            [features.T @ weighted, group_features.T @ constant, by_site(group_features).T],
            [constant.T @ group_features, constant.T @ (group_weight * constant), by_site(group_weight * constant).T],
            [by_site(group_features), by_site(group_weight * constant), np.diag(by_site(group_weight)[:, 0])],
        ])  # fmt: skip
        return matrix, np.concatenate([features.T @ values, constant.T @ group_values, by_site(group_values)])

"""What towers see of regional anomalies: those of the regions that their cell lies in, by its shares, in the months of their rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from dualflux.constraints.base import AnomalyPart
from dualflux.constraints.towers.records import Records
from dualflux.constraints.towers.row_errors import RowErrors
from dualflux.model.spatial_effect import HARMONICS


@dataclass(frozen=True, eq=False)
class RowsInRegions:
    """Rows by site and month.

    Attributes
    ----------
    records : Records
    share : array, (region, site)
        Part of the land of a site's cell that a region has.
    year, month : array, (site, month of the site)
        Calendar year, and month 0 to 11; year 0 where the site has no more months.
    place : array of int, (row,)
        Which of its site's months a row is in.
    """

    records: Records
    share: np.ndarray
    year: np.ndarray
    month: np.ndarray
    place: np.ndarray

    @classmethod
    def create(cls, records: Records, time: pd.DatetimeIndex, share: np.ndarray) -> "RowsInRegions":
        """Of rows at `time` (row,), in the order of `records`, and shares (region, site)."""
        serial = (12 * time.year + time.month - 1).to_numpy()
        new = np.r_[True, (np.diff(records.site) != 0) | (np.diff(serial) != 0)] if len(serial) else np.zeros(0, bool)
        count = np.cumsum(new) - 1
        before = np.searchsorted(records.site[new], records.site)
        place = count - before
        year = np.zeros((share.shape[1], int(place.max(initial=0)) + 1), int)
        month = np.zeros_like(year)
        year[records.site, place], month[records.site, place] = np.divmod(serial, 12)
        return cls(records, share, year, month, place)

    def of_months(self, years: np.ndarray) -> sparse.csr_array:
        """What a site's month sees of the anomalies (year, region, 12), flattened, (anomaly, site x month); nothing of other years."""
        region, site = np.nonzero(self.share)
        months = self.year.shape[1]
        region, site, month = np.repeat(region, months), np.repeat(site, months), np.tile(np.arange(months), len(region))
        inside = np.isin(self.year[site, month], years)
        region, site, month = region[inside], site[inside], month[inside]
        shape = (len(years), len(self.share), 12)
        place = np.ravel_multi_index((np.searchsorted(years, self.year[site, month]), region, self.month[site, month]), shape)
        size = int(np.prod(shape)), self.year.size
        return sparse.csr_array((self.share[region, site].astype(np.float64), (place, site * months + month)), size)

    def at_rows(self, load: sparse.csr_array, anomaly: np.ndarray) -> np.ndarray:
        """What rows see of anomalies, (row,), by the load of `of_months`."""
        by_month: np.ndarray = load.T @ anomaly
        return by_month.reshape(self.year.shape)[self.records.site, self.place]

    def part(
        self, load: sparse.csr_array, errors: RowErrors, features: np.ndarray, constant: np.ndarray, place: np.ndarray, values: np.ndarray,
        power: float = 1.0,
    ) -> AnomalyPart:  # fmt: skip
        """A' V^-1 A, A' V^-1 X and A' V^-1 v of the towers' design, see `TowerEquations.normal`; A is what rows see of anomalies.

        Parameters
        ----------
        load : sparse array
            Of `of_months`.
        errors : RowErrors
            V.
        features, constant, place, values : array
            As there.
        power : float
            Of the likelihood.
        """
        months = np.eye(self.year.shape[1])[self.place]
        weighted = errors.solve(months)
        spans = self.records.spans()
        inside = load @ sparse.block_diag([weighted[r].T @ months[r] for r in spans], format="csr") @ load.T
        seen = np.stack([weighted[r].T @ np.column_stack([features[r], constant[r], values[r]]) for r in spans])
        width = features.shape[1]
        u = np.einsum("smw,sk->smwk", seen[:, :, width : width + HARMONICS], place).reshape(*seen.shape[:2], -1)
        plain = seen[:, :, width : width + 1], seen[:, :, width + HARMONICS : -2]
        columns = np.concatenate([seen[:, :, :width], u, *plain, seen[:, :, -2:]], axis=2)
        found: np.ndarray = load @ columns.reshape(self.year.size, -1)
        return AnomalyPart(power * found[:, :-2], found[:, -2:] * [power, np.sqrt(power)], dense=power * inside.toarray())

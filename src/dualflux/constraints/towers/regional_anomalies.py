"""What towers see of regional anomalies: those of the regions that their cell lies in, by its shares, in the months of their rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse


@dataclass(frozen=True, eq=False)
class RowsInRegions:
    """Where and when the rows are.

    Attributes
    ----------
    share : array, (region, cell)
        Part of a cell's land that a region has.
    cell : array of int, (row,)
    time : DatetimeIndex, (row,)
    """

    share: np.ndarray
    cell: np.ndarray
    time: pd.DatetimeIndex

    def loading(self, years: np.ndarray) -> sparse.csr_array:
        """What a row sees of the anomalies (year, region, 12), flattened, (anomaly, row); of years that are not among `years` nothing."""
        inside = np.flatnonzero(np.isin(self.time.year, years))
        seen = self.share[:, self.cell[inside]]
        region, row = np.nonzero(seen)
        year, month = np.searchsorted(years, self.time.year[inside][row]), self.time.month.to_numpy()[inside][row] - 1
        place = np.ravel_multi_index((year, region, month), (len(years), len(self.share), 12))
        size = len(years) * len(self.share) * 12, len(self.time)
        return sparse.csr_array((seen[region, row].astype(np.float64), (place, inside[row])), size)

    def by_year(self, matrix: sparse.coo_array) -> np.ndarray:
        """Blocks (year, n, n) of a matrix over anomalies in which years do not meet."""
        size = 12 * len(self.share)
        found = np.zeros((matrix.shape[0] // size, size, size))
        np.add.at(found, (matrix.row // size, matrix.row % size, matrix.col % size), matrix.data)
        return found

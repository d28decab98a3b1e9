"""A finished comparison of products as one object."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dualflux.in_python import tables
from dualflux.in_python.html import mean_annual, page


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Products beside each other; `dualflux.compare` makes it.

    Attributes
    ----------
    folder : Path
        Tables, maps.nc, figures and report.html.
    products : list of str
    against : str
        What all others are compared with.
    """

    folder: Path
    products: list[str]
    against: str

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return tables.table_names(self.folder)

    def table(self, name: str) -> pd.DataFrame:
        """A table of the comparison, see `Run.table`."""
        return tables.read_table(self.folder, name)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.products)} against {self.against}; {self.folder}>"

    def _repr_html_(self) -> str:
        lines = {"products": ", ".join(self.products), "against": self.against, "folder": str(self.folder)}
        return page("Comparison", lines, mean_annual(self.table("summary"), [*self.products, self.against]))

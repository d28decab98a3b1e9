"""What a study says of an inversion's files, one class per format."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dualflux.sources.files.plausible import FillValues, Implausible

Missing = Literal["error", "zero"]


class _Source(BaseModel):
    """What every inversion file has.

    Attributes
    ----------
    products : list of str, optional
        Keep these only; by default all.
    includes_fire : bool, optional
        Whether the flux contains fire emissions; by default as `contents` knows the variable.
    fill_value : float or list of float, optional
        Missing besides what the file declares, in the file's unit.
    implausible : {"error", "accept"}
        ``accept``: values and global sums that no inversion can have are taken as they are, and said.
    family : str, optional
        Name of a system: products of one family, its releases, count as one product, their mean.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    products: Annotated[list[str], Field(min_length=1)] | None = None
    includes_fire: bool | None = None
    fill_value: FillValues | None = None
    implausible: Implausible = "error"
    family: Annotated[str, Field(min_length=1)] | None = None


class _OneFile(_Source):
    """A source in one file; `path` is relative to the data root."""

    path: str


class _Files(_Source):
    """A source in one file or many; `path` is a file, glob or folder, or a list of these, relative to the data root."""

    suffix: ClassVar[str] = ".nc"
    path: Annotated[str | list[str], Field(min_length=1)]


class TableInversions(_OneFile):
    """A regional table: CSV with the columns product, region, time, value, unit; positive to the atmosphere."""

    format: Literal["table"]


class GlobalCarbonBudgetInversions(_Files):
    """The gridded inversions of a Global Carbon Budget release (2022, 2023, 2024), in one file or several; positive to the atmosphere.

    Attributes
    ----------
    variable : str
        `land_flux_fossil_cement_and_river_adjusted` (2022) is a stock change: refused for other targets.
    units : str, optional
        Overrides the file's attribute; PgC m-2 yr-1 where the file says nothing.
    missing : {"error", "zero"}
        What a land cell without a value means while the member has others.
    """

    format: Literal["gcb"]
    variable: str = "land_flux_only_fossil_cement_adjusted"
    units: str | None = None
    missing: Missing = "error"


class CamsInversions(_Files):
    """CAMS monthly surface fluxes: one file per month, the date in its name; flux per m2 of the whole grid box.

    Attributes
    ----------
    units : str, optional
        Overrides the file's attribute; kgC m-2 month-1 where the file says nothing.
    """

    format: Literal["cams"]
    product: str = "CAMS"
    variable: str = "flux_apos_bio"
    units: str | None = None
    missing: Missing = "error"


class CarboScopeInversions(_Files):
    """Jena CarboScope: integrals over each cell, daily or monthly, only the years the file declares valid are used."""

    format: Literal["carboscope"]
    product: str = "CarboScope"
    variable: str = "co2flux_land"
    units: str | None = None
    missing: Missing = "error"


class CarbonTrackerInversions(_Files):
    """CarbonTracker (NOAA) or CarbonTracker Europe monthly 1 degree fluxes: one file, or one per month with its date in the name.

    Attributes
    ----------
    own_fire : bool
        Take the product's own imposed fire out for `tower_nee`; otherwise the study's fire adjustment.
    """

    format: Literal["carbontracker"]
    product: str = "CarbonTracker"
    units: str | None = None
    missing: Missing = "error"
    own_fire: bool = True

    @field_validator("includes_fire")
    @classmethod
    def _known(cls, stated: bool | None) -> bool | None:
        if stated is not None:
            raise ValueError("the file's own variables tell fire apart; remove the key")
        return stated


class Oco2MipInversions(_Files):
    """OCO-2 model intercomparison, one file per model and experiment (`Baker_gridded_fluxes_LNLGIS.nc4`).

    Files that differ only in years or months at the end of their names are one product.

    Attributes
    ----------
    variable : str
        `land` (v10), or `net_flux` (v11), which holds the sea's exchange as well: cells without land are then left out.
    product : str, optional
        Of a single file; by default the names of the files (`Baker LNLGIS`).
    first : str, optional
        First month (2015-01) of a file without dates of its own.
    """

    suffix: ClassVar[str] = ".nc4"
    format: Literal["oco2mip"]
    variable: Literal["land", "net_flux"] = "land"
    product: str | None = None
    units: str | None = None
    first: Annotated[str, Field(pattern=r"^(19|20)\d\d-(0[1-9]|1[0-2])$")] | None = None
    missing: Missing = "error"


class GriddedInversions(_Files):
    """One product as a gridded flux (time, lat, lon).

    Attributes
    ----------
    per : {"area", "cell"}
        Flux per m2 of the whole grid cell, or already the integral over the cell.
    sign : {"to_atmosphere", "to_land"}
        What a positive value means.
    area : str, optional
        The file's variable of cell areas [m2]; exact areas on the sphere by default.
    fire_variable : str, optional
        The product's own imposed fire in the same files, of the same unit and sign.
    """

    format: Literal["gridded"]
    product: str
    variable: str
    per: Literal["area", "cell"]
    sign: Literal["to_atmosphere", "to_land"]
    units: str | None = None
    area: str | None = None
    missing: Missing = "error"
    fire_variable: str | None = None


InversionSource = Annotated[
    TableInversions
    | GlobalCarbonBudgetInversions
    | CamsInversions
    | CarboScopeInversions
    | CarbonTrackerInversions
    | Oco2MipInversions
    | GriddedInversions,
    Field(discriminator="format"),
]

"""What a study says of the products it compares with."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from dualflux.sources.files.plausible import FillValues, Implausible

Missing = Literal["error", "zero"]


class GriddedFields(BaseModel):
    """A product as gridded monthly NEE, positive to the atmosphere.

    Attributes
    ----------
    path : str or list of str
        Files, globs, folders (every .nc file) or Zarr stores (*.zarr).
    units : str, optional
        Of `FLUX_UNITS`, per m2 of land; by default the file's attribute.
    land_fraction : str, optional
        The file's variable (0-1) of the part of a cell that is land, which the product's own integral is made with;
        by default the study's land fraction.
    missing : {"error", "zero"}
        What land without a value means.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    suffix: ClassVar[str] = ".nc"

    product: str
    path: str | list[str]
    variable: str
    units: str | None = None
    land_fraction: str | None = None
    missing: Missing = "error"
    fill_value: FillValues | None = None
    implausible: Implausible = "error"


class GriddedReference(GriddedFields):
    """Any gridded product."""

    format: Literal["gridded"]


class XBaseReference(GriddedFields):
    """FLUXCOM-X-BASE, monthly (`NEE_YYYY_050_monthly.nc`): NEE per m2 of land, to be multiplied by the file's `land_fraction`.

    Land without vegetation has no value and counts as no flux; its share is reported.
    """

    format: Literal["xbase"]
    product: str = "X-BASE"
    variable: str = "NEE"
    units: str | None = "gC m-2 d-1"
    land_fraction: str | None = "land_fraction"
    missing: Missing = "zero"


class FluxcomReference(GriddedFields):
    """FLUXCOM (Jung et al. 2020), monthly files of one year each: NEE per m2 of land, weighted with the study's land fraction.

    Land without vegetation has no value and counts as no flux; its share is reported.
    """

    format: Literal["fluxcom"]
    product: str = "FLUXCOM"
    variable: str = "NEE"
    units: str | None = "gC m-2 d-1"
    missing: Missing = "zero"


class TableReference(BaseModel):
    """Regional monthly integrals: CSV with region, time, value and, unless stated here, product and unit.

    Regions are those of the study or `global`; without `global` rows it is the sum of all parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    suffix: ClassVar[str] = ".csv"

    format: Literal["table"]
    path: str
    product: str | None = None
    units: str | None = None
    fill_value: FillValues | None = None
    implausible: Implausible = "error"


ReferenceSource = Annotated[GriddedReference | XBaseReference | FluxcomReference | TableReference, Field(discriminator="format")]

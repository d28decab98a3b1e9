"""What a study says of fire and lateral carbon fluxes, which stand between what inversions and towers see."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dualflux.sources.files.plausible import FillValues, Implausible
from dualflux.units import INTEGRAL_UNITS

Emission = Literal["fire", "crop_consumption", "biofuel_consumption", "wood_consumption", "river_evasion", "lateral_emissions"]
EmissionInFile = Literal["allcropsource", "biofuelcropsource", "woodsource", "lakeriveremis"]
Sink = Literal[
    "crop_harvest_uptake", "biofuel_harvest_uptake", "wood_harvest_uptake", "river_uptake",
    "allcropsink", "biofuelcropsink", "woodsink", "riversink", "river_adjustment_land", "river_adjustment_land_scaled",
]  # fmt: skip
TermName = Emission | EmissionInFile | Sink

SINKS: tuple[str, ...] = get_args(Sink)
SAME_AS = {
    "allcropsource": "crop_consumption",
    "biofuelcropsource": "biofuel_consumption",
    "woodsource": "wood_consumption",
    "lakeriveremis": "river_evasion",
    "allcropsink": "crop_harvest_uptake",
    "biofuelcropsink": "biofuel_harvest_uptake",
    "woodsink": "wood_harvest_uptake",
    "riversink": "river_uptake",
    "river_adjustment_land_scaled": "river_adjustment_land",
}
LATERAL_VARIABLE = {term: variable for variable, term in SAME_AS.items() if not variable.startswith("river_adjustment")}
ANNUAL_UNITS = tuple(u for u in INTEGRAL_UNITS if u.endswith("yr-1"))
Profile = Literal["uniform", "file"] | tuple[float, ...]
Missing = Literal["error", "zero"]


class _Adjustment(BaseModel):
    """What every adjustment has.

    Attributes
    ----------
    name : str
        The term; file names of the lateral-flux product (`allcropsource`, ...) are understood.
    monthly_profile : "uniform", "file" or 12 shares
        How an annual value becomes months: by the days of the months (``uniform``), by the shares of
        January to December, or not at all because the file is monthly (``file``).
    uncertainty : float, optional
        Relative standard deviation, fully correlated between regions; without it the term adds nothing to R.
    sign : {"to_atmosphere", "to_land"}
        What a positive value means.
    fill_value : float or list of float, optional
        Missing besides what the file declares, in the file's unit.
    implausible : {"error", "accept"}
        ``accept``: values that no such flux can have are taken as they are, and said.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: TermName
    monthly_profile: Profile | None = None
    uncertainty: Annotated[float, Field(ge=0)] | None = None
    sign: Literal["to_atmosphere", "to_land"] = "to_atmosphere"
    fill_value: FillValues | None = None
    implausible: Implausible = "error"

    @field_validator("monthly_profile")
    @classmethod
    def _twelve_shares(cls, profile: Profile | None) -> Profile | None:
        if isinstance(profile, tuple) and (len(profile) != 12 or min(profile) < 0 or abs(sum(profile) - 1) > 1e-6):
            raise ValueError(
                f"{len(profile)} shares that sum to {sum(profile):.6g}; allowed: `uniform`, `file`, or 12 shares from 0 that sum to 1"
            )
        return profile


class TableAdjustment(_Adjustment):
    """CSV with region, value, unit and one of `year` (annual), `time` (monthly) or neither (the same rate in every year).

    Attributes
    ----------
    path : str
        Relative to the data root.
    product : str, optional
        Which rows of a column `product`; needed where it names more than one.
    """

    format: Literal["table"]
    path: str
    product: str | None = None


class _InFiles(_Adjustment):
    """A term in one file or many; `path` is a file, glob or folder, or a list of these, relative to the data root."""

    suffix: ClassVar[str] = ".nc"
    path: Annotated[str | list[str], Field(min_length=1)]


class GriddedAdjustment(_InFiles):
    """A gridded flux (time, lat, lon): annual fields with a profile, or monthly with ``monthly_profile: file``."""

    format: Literal["gridded"]
    variable: str
    per: Literal["area", "cell"]
    sign: Literal["to_atmosphere", "to_land"]
    units: str | None = None
    area: str | None = None
    missing: Missing = "error"


class LateralAdjustment(_InFiles):
    """One variable of the lateral-flux file of LSCE, gC m-2 yr-1: annual fields with a profile, or monthly ones.

    Attributes
    ----------
    variable : str, optional
        By default the file's own name of the term (crop_consumption: `allcropsource`).
    """

    format: Literal["lateral"]
    variable: str | None = None
    units: str | None = None
    missing: Missing = "zero"

    @model_validator(mode="after")
    def _in_the_file(self) -> "LateralAdjustment":
        if self.variable is None and SAME_AS.get(self.name, self.name) not in LATERAL_VARIABLE:
            raise ValueError(f"{self.name} is no single variable of the lateral-flux file; allowed: {', '.join(LATERAL_VARIABLE)}")
        return self

    @property
    def field(self) -> str:
        """The file's variable."""
        return self.variable or LATERAL_VARIABLE[SAME_AS.get(self.name, self.name)]


class _Gfed(_InFiles):
    """Monthly fire emissions."""

    name: Literal["fire"] = "fire"
    monthly_profile: Literal["file"] = "file"
    sign: Literal["to_atmosphere"] = "to_atmosphere"


class Gfed4Adjustment(_Gfed):
    """GFED4.1s: HDF5 files per year, ``emissions/MM/C`` [gC m-2 month-1]."""

    suffix: ClassVar[str] = ".hdf5"
    format: Literal["gfed4"]


class Gfed5Adjustment(_Gfed):
    """GFED5.1: NetCDF files per year, `C` or `carbon_emissions` [gC per cell per month]."""

    format: Literal["gfed5"]
    variable: str | None = None


AdjustmentSettings = Annotated[
    TableAdjustment | GriddedAdjustment | LateralAdjustment | Gfed4Adjustment | Gfed5Adjustment, Field(discriminator="format")
]


def term_of(settings: AdjustmentSettings) -> str:
    """The term's name here; a sink's variable makes the term a sink whatever the study calls it."""
    variable = getattr(settings, "variable", None) or ""
    return SAME_AS.get(variable if variable in SINKS else settings.name, settings.name)

"""What an inversion's flux contains, so that each product is made comparable in its own way."""

from dataclasses import dataclass
from typing import Literal

from dualflux.sources.inversions.settings import CarbonTrackerInversions, GriddedInversions, InversionSource, TableInversions

Fire = Literal["in", "out", "own"]

WITHOUT_FIRE = ("bio_flux_opt", "biosphere_flux_optimized")  # CarbonTracker, CTE: fire has a variable of its own
NO_LAND_FLUX = {  # variables of the formats read here that users may take for the land's
    "fossil_fuel_emissions": "fossil fuel emissions",
    "fossil_flux_imp": "fossil fuel emissions",
    "flux_foss": "fossil fuel emissions",
    "co2flux_subt": "fossil fuel emissions",
    "fire_flux_imp": "imposed fire emissions",
    "fire_flux_imposed": "imposed fire emissions",
    "ocn_flux_opt": "the exchange of the sea",
    "flux_apos_ocean": "the exchange of the sea",
    "co2flux_ocean": "the exchange of the sea",
    "ocean": "the exchange of the sea",
    "flux_apri_bio": "the prior flux, before any atmospheric data",
    "bio_flux_prior": "the prior flux, before any atmospheric data",
    "prior_flux_land": "the prior flux, before any atmospheric data",
}


@dataclass(frozen=True)
class Contents:
    """What a source's flux holds.

    Attributes
    ----------
    fire : {"in", "out", "own"}
        Contained; not contained; contained and also there as the product's own imposed field.
    lateral : {"in", "river removed"}
        Emissions and sinks of lateral transport are in every inversion's flux; some files have the river's taken out.
    fossil : {"out"}
        All formats read here keep fossil emissions apart.
    """

    fire: Fire
    lateral: Literal["in", "river removed"]
    fossil: Literal["out"] = "out"

    def text(self) -> str:
        """For tables."""
        fire = {"in": "fire included", "out": "without fire", "own": "fire included, its own in the file"}[self.fire]
        return f"{fire}{'' if self.lateral == 'in' else ', river flux removed'}, without fossil"


def contents(source: InversionSource) -> Contents:
    """What a source holds: as stated, or as its variable is known to."""
    variable = "" if isinstance(source, (TableInversions, CarbonTrackerInversions)) else source.variable
    return Contents(_fire(source, variable), "river removed" if "river" in variable else "in")


def _fire(source: InversionSource, variable: str) -> Fire:
    if isinstance(source, CarbonTrackerInversions):
        return "own" if source.own_fire else "in"
    if isinstance(source, GriddedInversions) and source.fire_variable is not None:
        return "own"
    if source.includes_fire is not None:
        return "in" if source.includes_fire else "out"
    return "out" if variable in WITHOUT_FIRE else "in"


def includes_fire(source: InversionSource) -> bool:
    """Whether a source's flux contains fire emissions once it is read."""
    return contents(source).fire != "out"


def river_adjusted(source: InversionSource) -> bool:
    """Whether a source's flux has the river flux on land removed: a stock change, no flux to the atmosphere."""
    return contents(source).lateral != "in"

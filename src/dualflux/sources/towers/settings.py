"""What a study can say about files of the tower networks."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FluxnetSource(BaseModel):
    """FLUXNET, AmeriFlux FLUXNET, ICOS ETC, TERN or other ONEFlux files: MM, DD, HH or HR, as CSV or in the zip archives of the download.

    Attributes
    ----------
    path : str or list of str
        Files, globs, folders or zip archives. Of what a glob, folder or archive holds, files of other resolutions and reanalysis
        files are skipped and listed.
    sites : str or list of str, optional
        CSV tables of the sites: site, lat, lon, igbp (utc_offset, citation); or a snapshot of the FLUXNET shuttle; or BIF or SITEINFO
        files. Their sites without a flux file are not meant. What they do not say comes from the BIF and SITEINFO files among `path`.
    variable : str
        A site without usable values of a VUT variable is read from the CUT variable instead, with its own quality and uncertainty.
    quality_above : float, optional
        Fraction (0-1) of measured or well-filled half-hours that a day must exceed; in a monthly study, the month's mean.
    uncertainty : "joint", "random" or None
        `joint` is sqrt(RANDUNC^2 + ((p84 - p16) / 2)^2), computed where the file lacks it but has the percentiles; a file without
        percentiles gives `random`. `Towers.sites` says which it was.
    minimum_coverage : float
        Part of a day's half-hours that must have a value where they are averaged to days, and of a month's days where these are
        averaged to months.
    consistency : "off", "report" or "drop"
        Flags for whole site-variables and break points of daily or finer files: not made, listed, or listed and acted on.
    implausible : "error" or "accept"
        What becomes of numbers that cannot be: undeclared fill values, fluxes that no ecosystem has, records that stand still. `accept`
        takes them as they are.
    exclude : list of str
        Sites whose files are not read.

    Of several releases of one site the one with the most usable days is used, see `choose_releases`. The columns TA_F [degC], SW_IN_F
    [W m-2], VPD_F [hPa] and P_F [mm d-1] are kept as site meteorology, where a file has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | list[str]
    format: Literal["fluxnet"]
    sites: str | list[str] | None = None
    variable: str = "NEE_VUT_REF"
    quality_above: float | None = Field(default=0.8, ge=0, lt=1)
    uncertainty: Literal["joint", "random"] | None = "joint"
    minimum_coverage: float = Field(default=0.8, gt=0, le=1)
    consistency: Literal["off", "report", "drop"] = "report"
    implausible: Literal["error", "accept"] = "error"
    exclude: list[str] = []

    @property
    def paths(self) -> list[str]:
        """All paths, globs and folders, of data and sites."""
        return [path for given in (self.path, self.sites or []) for path in ([given] if isinstance(given, str) else given)]

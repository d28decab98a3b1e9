"""Figures of a run, one by one: the report's own drawing."""

from functools import cached_property

import matplotlib as mpl
from matplotlib.axes import Axes

from dualflux.errors import InputError
from dualflux.in_python.folder import RunFiles
from dualflux.report import read_contents
from dualflux.report.contents import Contents
from dualflux.report.drawing import scored
from dualflux.report.figures import annual_anomaly, draw_anomalies, draw_cycle, seasonal_cycle
from dualflux.report.maps import mean_maps, read_map, tower_map
from dualflux.report.style import RC


class Plots:
    """The figures of a run; each method gives the axes, whose `figure` can be shown and saved: ``run.plot.map("dual").figure``."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files

    @cached_property
    def _contents(self) -> Contents:
        return read_contents(self._files.folder, self._files.study)

    def seasonal_cycle(self, region: str = "global", ax: Axes | None = None) -> Axes:
        """Mean seasonal cycle of all products in a region [PgC month-1], with one standard deviation.

        Parameters
        ----------
        region : str
            One of `Run.regions`.
        ax : Axes, optional
            Where to draw; by default a figure of its own, with a legend.

        Raises
        ------
        InputError
            An unknown region; a run without the tables of the report.
        """
        with mpl.rc_context(RC):
            if ax is None:
                return seasonal_cycle(self._contents, self._known_region(region)).axes[0]
            draw_cycle(ax, self._contents, self._known_region(region), self._contents.drawn)
        return ax

    def annual(self, region: str = "global", ax: Axes | None = None) -> Axes:
        """Annual sums of all products in a region, each minus its own mean [PgC yr-1].

        Parameters
        ----------
        region : str
            One of `Run.regions`.
        ax : Axes, optional
            Where to draw; by default a figure of its own, with a legend.

        Raises
        ------
        InputError
            An unknown region; a run without the tables of the report.
        """
        with mpl.rc_context(RC):
            if ax is None:
                return annual_anomaly(self._contents, self._known_region(region)).axes[0]
            draw_anomalies(ax, self._contents, self._known_region(region))
        return ax

    def map(self, variant: str = "dual") -> Axes:
        """Mean net ecosystem exchange of a variant [gC m-2 yr-1], hatched where predictors are unlike those of any tower.

        Raises
        ------
        InputError
            An unknown variant.
        """
        path = self._files.product(variant)
        with mpl.rc_context(RC):
            field = read_map(path)
            return mean_maps({variant: field}, self._contents).axes[0]

    def sites(self, variant: str = "dual") -> Axes:
        """Where the towers stand, coloured by how well a variant predicts them when they are left out (NSE).

        Raises
        ------
        InputError
            An unknown variant; a run without scores at towers.
        """
        path, known = self._files.product(variant), scored(self._contents)
        if variant not in known or self._contents.places.empty:
            raise InputError(
                f"{self._files.folder}: no scores at towers of {variant}; there are some of {', '.join(known) or 'no variant'}"
            )
        with mpl.rc_context(RC):
            return tower_map(read_map(path), self._contents, variant).axes[0]

    def _known_region(self, region: str) -> str:
        if region not in self._contents.regions:
            raise InputError(f"{self._files.folder}: no region `{region}`; it has {', '.join(self._contents.regions)}")
        return region

    def __repr__(self) -> str:
        return f"<Plots of {self._files.folder}: seasonal_cycle(region), annual(region), map(variant), sites(variant)>"

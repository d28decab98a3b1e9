"""What a study's products say far from its data: shares of land and exchange, and boxes beyond what data show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualflux.geometry.sphere import unit_vectors
from dualflux.metrics import far_from_data as far
from dualflux.metrics import hot_spots
from dualflux.metrics.hot_spots import Boxes
from dualflux.prepared import Prepared
from dualflux.units import DAYS_PER_MEAN_YEAR, PETAGRAM

FAR_COLUMNS = ["region", "distance_km", "share_of_area", "share_of_flux"]
SUMMARY_COLUMNS = ["product", "region", "metric", "value", "unit"]


@dataclass(frozen=True, eq=False)
class Classes:
    """Classes of land, of cells and of sites.

    Attributes
    ----------
    names : tuple of str
    fraction : array, (cell, class)
        Of the cell's land.
    of_site : Series, index site
        Missing: none.
    """

    names: tuple[str, ...]
    fraction: np.ndarray
    of_site: pd.Series

    def unseen(self) -> np.ndarray:
        """Fraction of each cell in classes that no site has, (cell,)."""
        whole = self.fraction.sum(axis=1)
        seen = np.isin(self.names, self.of_site.dropna().unique())
        return np.divide(self.fraction @ ~seen, whole, out=np.zeros(len(whole)), where=whole > 0)


def site_classes(prepared: Prepared, predictor: str) -> Classes:
    """Of a predictor whose class is the site's own."""
    names, fraction = _fractions(prepared, predictor)
    igbp = prepared.sites["igbp"]
    return Classes(names, fraction, igbp.where(igbp.isin(names)))


def cell_classes(prepared: Prepared, predictor: str) -> Classes:
    """Of a predictor whose class at a site is that of its cell: the dominant one."""
    names, fraction = _fractions(prepared, predictor)
    sites = prepared.sites
    return Classes(names, fraction, pd.Series(np.array(names)[fraction[sites["cell"].to_numpy()].argmax(axis=1)], sites.index))


def _fractions(prepared: Prepared, predictor: str) -> tuple[tuple[str, ...], np.ndarray]:
    cube = prepared.cube
    at = [i for i, c in enumerate(cube.columns.static) if c.startswith(f"{predictor}_")]
    fraction = cube.static[:, at].astype(np.float64) * cube.scale[at] + cube.centre[at]
    return tuple(cube.columns.static[i].removeprefix(f"{predictor}_") for i in at), np.clip(fraction, 0.0, 1.0)


def far_from_data(
    prepared: Prepared, fluxes: Mapping[str, np.ndarray], shown: str, cover: Classes | None, climate: Classes | None
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:  # fmt: skip
    """The tables `far_from_data` and `flags` of one product, and the rows that all add to `summary.csv`.

    Parameters
    ----------
    fluxes : dict of str to array, (cell,)
        Lasting flux of each product [gC m-2 yr-1].
    shown : str
        The product of the tables.
    cover, climate : Classes or None
        Classes of which some may have no tower; classes whose towers set limits.
    """
    found = {product: flags(prepared, flux, climate) for product, flux in fluxes.items()}
    rows = [far_summary(prepared, fluxes, cover), flag_counts(found, prepared.cells.region_names)]
    return {"far_from_data": far_table(prepared, fluxes[shown]), "flags": found[shown]}, pd.concat(rows, ignore_index=True)


def far_table(prepared: Prepared, flux: np.ndarray) -> pd.DataFrame:
    """The table `far_from_data.csv`, see `metrics.far_from_data.shares`.

    Parameters
    ----------
    flux : array, (cell,)
        Lasting flux of a product [gC m-2 yr-1].
    """
    distance, area = _distance(prepared), _areas(prepared)
    regions = [*prepared.cells.region_names, "global"]
    tables = []
    for limit in far.DISTANCES:
        of_area, of_flux, _ = far.shares((distance > limit).astype(float), area, flux)
        tables.append(pd.DataFrame(dict(zip(FAR_COLUMNS, (regions, limit, of_area, of_flux), strict=True))))
    return pd.concat(tables, ignore_index=True)


def far_summary(prepared: Prepared, fluxes: Mapping[str, np.ndarray], cover: Classes | None) -> pd.DataFrame:
    """Rows of `summary.csv`: `share_far_*km`, `flux_far_*km` and, where sites have classes of their own, `share_unseen_classes`.

    Parameters
    ----------
    fluxes : dict of str to array, (cell,)
        Lasting flux of each product [gC m-2 yr-1].
    cover : Classes or None
    """
    distance, area = _distance(prepared), _areas(prepared)
    regions, rows = [*prepared.cells.region_names, "global"], list[tuple[object, ...]]()
    for product, flux in fluxes.items():
        for limit in far.DISTANCES:
            _, share, net = far.shares((distance > limit).astype(float), area, flux)
            rows += [(product, r, f"share_far_{limit}km", v, "1") for r, v in zip(regions, share, strict=True)]
            rows += [(product, r, f"flux_far_{limit}km", v / PETAGRAM, "PgC yr-1") for r, v in zip(regions, net, strict=True)]
        if cover is not None:
            _, share, _ = far.shares(cover.unseen(), area, flux)
            rows += [(product, r, "share_unseen_classes", v, "1") for r, v in zip(regions, share, strict=True)]
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS).dropna(subset="value")


def flags(prepared: Prepared, flux: np.ndarray, climate: Classes | None) -> pd.DataFrame:
    """The table `flags.csv` of one product: kind, region, lat, lon, value, limit [gC m-2 yr-1], see `metrics.hot_spots`.

    Parameters
    ----------
    flux : array, (cell,)
        Lasting flux [gC m-2 yr-1].
    climate : Classes or None
        None: all sites set the limits everywhere.
    """
    found = pd.concat([_box_flags(prepared, flux, climate), _region_flags(prepared, flux)], ignore_index=True)
    return found[hot_spots.COLUMNS]


def flag_counts(found: Mapping[str, pd.DataFrame], regions: Sequence[str]) -> pd.DataFrame:
    """Rows of `summary.csv`: `hot_spots`, the number of flags of each product and region, those of the globe are all."""
    rows = [
        (product, region, "hot_spots", float(len(table) if region == "global" else (table["region"] == region).sum()), "1")
        for product, table in found.items() for region in (*regions, "global")
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def _box_flags(prepared: Prepared, flux: np.ndarray, climate: Classes | None) -> pd.DataFrame:
    cells, means = prepared.cells, DAYS_PER_MEAN_YEAR * hot_spots.site_means(prepared.observations)
    boxes = Boxes.of(cells.lat(), cells.lon())
    if climate is None:
        climate = Classes(("land",), np.ones((len(cells.index), 1)), pd.Series("land", prepared.sites.index))
    limits = hot_spots.tower_limits(means, climate.of_site, climate.names)
    if limits.empty:
        return pd.DataFrame(columns=hot_spots.COLUMNS)
    area = boxes.sums(cells.land_area)
    value = boxes.sums(cells.land_area * flux) / area
    own = limits.loc[np.array(climate.names)[boxes.sums(climate.fraction * cells.land_area[:, None]).argmax(axis=1)]]
    limit = hot_spots.beyond(value, own["lower"].to_numpy(), own["upper"].to_numpy())
    found = pd.DataFrame({
        "kind": own["kind"].to_numpy(), "region": _region_of(boxes.sums(cells.region_area.T), cells.region_names),
        "lat": boxes.lat, "lon": boxes.lon, "value": value, "limit": limit,
    })  # fmt: skip
    return found[np.isfinite(limit) & (area >= hot_spots.LEAST_LAND)]


def _region_of(area: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The region that most of each box belongs to; none: empty."""
    return [names[place] if row[place] > 0 else "" for row, place in zip(area, area.argmax(axis=1), strict=True)]


def _region_flags(prepared: Prepared, flux: np.ndarray) -> pd.DataFrame:
    """Regions beyond every inversion; at the place of the region's mean direction on the sphere."""
    if prepared.target is None:
        return pd.DataFrame(columns=hot_spots.COLUMNS)
    cells, area = prepared.cells, prepared.cells.region_area
    value = area @ flux / area.sum(axis=1)
    lower, upper = hot_spots.inversion_limits(_inversion_means(prepared) / area.sum(axis=1))
    limit = hot_spots.beyond(value, lower, upper)
    lat, lon = _middle(cells.lat(), cells.lon(), area)
    found = pd.DataFrame({
        "kind": hot_spots.OF_INVERSIONS, "region": cells.region_names, "lat": lat, "lon": lon, "value": value, "limit": limit
    })  # fmt: skip
    return found[np.isfinite(limit)]


def _inversion_means(prepared: Prepared) -> np.ndarray:
    """Mean annual flux of each inversion over its complete years, made like with like, (inversion, region) [gC yr-1]."""
    if prepared.target is None:
        return np.zeros((0, len(prepared.cells.region_names)))
    integral = prepared.target.integral.sel(region=list(prepared.cells.region_names))
    annual = integral.groupby("time.year").sum("time", skipna=False, min_count=12)
    return np.asarray(annual.mean("year").transpose("product", "region").to_numpy() * PETAGRAM)


def _middle(lat: np.ndarray, lon: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean direction of cells by weight (region, cell) as latitude and longitude [degrees]."""
    from_centre = weight @ unit_vectors(lat, lon)
    x, y, z = from_centre.T
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def _distance(prepared: Prepared) -> np.ndarray:
    cells, sites = prepared.cells, prepared.sites
    return far.distance_to_towers(cells.lat(), cells.lon(), sites["lat"].to_numpy(float), sites["lon"].to_numpy(float))


def _areas(prepared: Prepared) -> np.ndarray:
    """Land area of regions and of the globe, (region + 1, cell)."""
    return np.vstack([prepared.cells.region_area, prepared.cells.land_area])

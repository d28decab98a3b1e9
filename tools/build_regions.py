"""Build src/dualflux/data/gcp18.nc: the 18 regions and the land fraction at 1 degree.

Source: Natural Earth 1:110 m country polygons (public domain), as packed in the geopandas 0.14.4 wheel:

    pip download --no-deps geopandas==0.14.4 && unzip geopandas-0.14.4-py3-none-any.whl -d natural_earth
    pip install pyogrio shapely
    python tools/build_regions.py natural_earth/geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp

Which country belongs to which region stands in src/dualflux/data/gcp18_countries.csv and may be edited. A row with
west, south, east and north takes only the part of the country inside that box (French Guiana), and goes first.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import pyogrio
import shapely
import xarray as xr
from scipy.spatial import cKDTree

DATA = Path(__file__).resolve().parents[1] / "src" / "dualflux" / "data"
NAMES = ["USA", "CAN", "CAM", "NSA", "BRA", "SSA", "EU", "NAF", "EQAF", "SAF", "RUS", "CAS", "MIDE", "CHN", "KAJ", "SAS", "SEAS", "OCE"]
POINTS = 10  # sample points along each side of a 1 degree cell
PERCENT = {"units": "1", "scale_factor": 0.01}  # stored as whole percents
REACH = 8.0  # degrees of arc: how far a region's mask extends over the sea
SEA, NO_REGION = -1, len(NAMES)


def read_countries(table: Path, shapefile: Path) -> list[tuple[shapely.Geometry, int]]:
    """(polygon, region number) of each row of the table, in its order."""
    _, _, geometry, fields = pyogrio.raw.read(shapefile, columns=["name"])
    polygon = dict(zip(fields[0], shapely.from_wkb(geometry), strict=True))
    with table.open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    faults = sorted(set(polygon) ^ {r["country"] for r in rows}) + [r["region"] for r in rows if r["region"] not in {"", *NAMES}]
    if faults:
        raise SystemExit(f"{table}: countries in only one of table and shapefile, or unknown regions: {faults}")
    found = []
    for row in rows:
        shape = polygon[row["country"]]
        if row["west"]:
            shape = shapely.intersection(shape, shapely.box(*(float(row[k]) for k in ("west", "south", "east", "north"))))
        found.append((shape, NAMES.index(row["region"]) if row["region"] else NO_REGION))
    return found


def sample(countries: list[tuple[shapely.Geometry, int]]) -> np.ndarray:
    """Region number at each sample point, (180 x POINTS, 360 x POINTS); SEA where there is no country."""
    lat = (np.arange(180 * POINTS) + 0.5) / POINTS - 90
    lon = (np.arange(360 * POINTS) + 0.5) / POINTS - 180
    region = np.full((lat.size, lon.size), SEA, dtype=np.int8)
    for shape, number in countries:
        west, south, east, north = shape.bounds
        i, j = np.flatnonzero((lat >= south) & (lat <= north)), np.flatnonzero((lon >= west) & (lon <= east))
        shapely.prepare(shape)
        x, y = np.meshgrid(lon[j], lat[i])
        inside = shapely.contains_xy(shape, x, y) & (region[np.ix_(i, j)] == SEA)
        region[np.ix_(i, j)] = np.where(inside, number, region[np.ix_(i, j)])
    return region


def count(points: np.ndarray) -> np.ndarray:
    """Number of sample points of each region in each cell, (region + 1, 180, 360)."""
    cells = points.reshape(180, POINTS, 360, POINTS)
    return np.stack([(cells == number).sum(axis=(1, 3)) for number in range(NO_REGION + 1)])


def shares_in_percent(counts: np.ndarray) -> np.ndarray:
    """Whole percents by the largest remainder, so that the shares of a cell with land sum to exactly 100."""
    total = counts.sum(axis=0)
    exact = 100 * counts / np.maximum(total, 1)
    percent = np.floor(exact).astype(int)
    short = np.where(total > 0, 100 - percent.sum(axis=0), 0)
    rank = np.argsort(np.argsort(-(exact - percent), axis=0, kind="stable"), axis=0)
    return percent + (rank < short)


def extend_over_sea(percent: np.ndarray, land: np.ndarray) -> np.ndarray:
    """Give each sea cell within REACH the shares of its nearest land cell, for masks of finer coasts and small islands."""
    lat, lon = np.meshgrid(np.radians(np.arange(180) - 89.5), np.radians(np.arange(360) - 179.5), indexing="ij")
    position = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    distance, nearest = cKDTree(position[land]).query(position[~land])
    near = distance <= 2 * np.sin(np.radians(REACH) / 2)
    out = percent.copy()
    out[:, ~land] = np.where(near, percent[:, land][:, nearest], 0)
    return out


def build(table: Path, shapefile: Path) -> xr.Dataset:
    """The packaged dataset."""
    counts = count(sample(read_countries(table, shapefile)))
    land = counts.sum(axis=0)
    percent = extend_over_sea(shares_in_percent(counts), land > 0)[:NO_REGION].astype(np.uint8)
    region = np.where(percent.max(axis=0) >= 50, percent.argmax(axis=0) + 1, 0).astype(np.uint8)
    flags = {"flag_values": np.arange(1, NO_REGION + 1, dtype=np.uint8), "flag_meanings": " ".join(NAMES)}
    data = xr.Dataset(
        {
            "land_fraction": (
                ("lat", "lon"),
                land.astype(np.uint8),
                {"long_name": "land fraction of the cell (lakes count as land)", **PERCENT},
            ),
            "ice_free_land_fraction": (
                ("lat", "lon"),
                (land - counts[NO_REGION]).astype(np.uint8),
                {"long_name": "land fraction of the cell without Greenland and the Antarctic", **PERCENT},
            ),
            "region_fraction": (
                ("region", "lat", "lon"),
                percent,
                {"long_name": "share of the cell's land in each region; sea near land: that of the nearest land", **PERCENT},
            ),
            "region_mask": (("lat", "lon"), region, {"long_name": "region of at least half of the cell's land, 0 none", **flags}),
        },
        {
            "lat": ("lat", np.arange(180) - 89.5, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", np.arange(360) - 179.5, {"units": "degrees_east", "standard_name": "longitude"}),
            "region_name": ("region", np.array(NAMES, dtype=object), {"long_name": "region"}),
        },
        {
            "Conventions": "CF-1.11",
            "title": "18 land regions of the Global Carbon Project's methane and nitrous oxide budgets",
            "source": "Natural Earth 1:110 m countries; gcp18_countries.csv; tools/build_regions.py",
            "license": "public domain (Natural Earth)",
            "comment": f"{POINTS} x {POINTS} sample points per cell; regions extend {REACH:g} degrees over the sea; "
            "Greenland and Antarctica belong to none",
        },
    )
    return data


def main() -> None:
    """Write the packaged file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapefile", type=Path)
    parser.add_argument("--table", type=Path, default=DATA / "gcp18_countries.csv")
    parser.add_argument("--out", type=Path, default=DATA / "gcp18.nc")
    arguments = parser.parse_args()
    data = build(arguments.table, arguments.shapefile)
    packed = {name: {"zlib": True, "complevel": 9, "_FillValue": None} for name in data.data_vars}
    data.to_netcdf(arguments.out, engine="h5netcdf", encoding=packed)


if __name__ == "__main__":
    main()

"""What the priors alone say: draws of all of them, turned into the numbers that data have too.

A prior that speaks before any data does so here: where its draws lie far from the data, or all on one side of them, it is the prior that
decides what data leave open. Drawn are, each alone and all together,

    network  weights N(0, sd^2) with the sd that training used, biases 0 (they have no prior);
    u        the spatial effect, its sds as training estimated them;
    a        anomalies of regions that no predictor carries, their sds from left-out years;
    g        intercept and slopes of the representativeness: at towers only, for it is no part of the flux.

Predictors of time alone are left out, and the prior of patterns inside regions, which narrows the network's. Cells are a sample in
which each stands for the same area of land.
"""

import zlib
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.cube import Cube
from dualflux.metrics.hot_spots import site_means
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, Network, Representativeness
from dualflux.model.spatial_effect import HARMONICS
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import RegionalAnomalies
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prepared import Prepared
from dualflux.units import DAYS_PER_MEAN_YEAR, PETAGRAM

DRAWS = 20
MOST_CELLS = 256
MOST_YEARS, MOST_STEPS = 10, 1100  # ten years of months, three of days
COLUMNS = ["quantity", "part", "draws", "lower", "median", "upper", "data", "fitted", "unit"]
UNITS = {
    "global_mean": "PgC yr-1", "map_sd": "gC m-2 yr-1", "annual_sd": "PgC yr-1", "site_mean": "gC m-2 yr-1", "site_sd": "gC m-2 yr-1",
}  # fmt: skip
ALL = "all"


class PriorSds(NamedTuple):
    """Prior sds.

    Attributes
    ----------
    network : float
        Of weights, in units of their initial sd, ``sqrt(2 / inputs)`` (He).
    lasting, seasonal, shape : float
        Of the spatial effect's coefficients [gC m-2 d-1].
    intercept, slope : float
        Of g [gC m-2 d-1]; 0: there is none.
    """

    network: float
    lasting: float
    seasonal: float
    shape: float
    intercept: float
    slope: float

    @classmethod
    def read(cls, identifiability: pd.DataFrame, variant: str, network: float) -> "PriorSds":
        """Of the table of prior variances that training leaves; effects that a variant has not have none."""
        own = identifiability[identifiability["variant"] == variant].set_index("effect")["prior_variance"]
        names = ("spatial_lasting", "spatial_seasonal", "spatial_shape", "representativeness_mean", "representativeness")
        return cls(network, *(float(np.sqrt(own.get(name, 0.0))) for name in names))


def draw_models(like: Ensemble, sd: PriorSds, count: int, random: np.random.Generator) -> tuple[FluxModel, FluxModel, FluxModel]:
    """Draws of the network alone, of u alone and of g alone, each stacked members of an ensemble's shapes."""
    trained = like.model
    weights = [np.asarray(w).shape[1:] for w in trained.network.weights]
    drawn = [jnp.asarray(random.normal(0, sd.network * np.sqrt(2 / shape[0]), (count, *shape)), jnp.float32) for shape in weights]
    nothing = Network(
        [jnp.zeros_like(w) for w in drawn],
        [jnp.zeros((count, s[1])) for s in weights],
        trained.network.activation,
        trained.network.vegetation,
    )
    scale = np.repeat([sd.lasting, sd.seasonal, sd.shape], [1, 2, HARMONICS - 3])[:, None]
    spatial = jnp.asarray(scale * random.normal(size=(count, HARMONICS, like.basis.size)), jnp.float32)
    invariant = np.asarray(trained.representativeness.coefficient).shape[1]
    own = random.normal(0, sd.intercept, count), random.normal(0, sd.slope, (count, invariant))
    g, no_g = (Representativeness(*(jnp.asarray(x * on, jnp.float32) for x in own)) for on in (1.0, 0.0))
    series, still = jnp.zeros((count, *np.asarray(trained.series).shape[1:])), jnp.zeros_like(spatial)
    network = FluxModel(Network(drawn, nothing.biases, nothing.activation, nothing.vegetation), no_g, {}, still, series)
    return network, FluxModel(nothing, no_g, {}, spatial, series), FluxModel(nothing, g, {}, still, series)


def equal_areas(area: np.ndarray, count: int) -> np.ndarray:
    """Places of cells, each of which stands for the same area: at even steps of the summed area, so a large cell may come twice."""
    if len(area) <= count and np.ptp(area) == 0:
        return np.arange(len(area))
    return np.searchsorted(np.cumsum(area) / area.sum(), (np.arange(count) + 0.5) / count)


def whole_years(cube: Cube, most: int = MOST_STEPS) -> slice:
    """Months of whole calendar years from the first January on, at most `MOST_YEARS` and `most` steps; all months where there is none."""
    months = cube.steps.months
    first = int(np.argmax(months.month == 1)) if (months.month == 1).any() else 0
    years = min((len(months) - first) // 12, MOST_YEARS)
    while years > 1 and cube.steps.month_steps[first : first + 12 * years].sum() > most:
        years -= 1
    return slice(first, first + 12 * years) if years else slice(0, len(months))


def land_numbers(flux: np.ndarray, days: np.ndarray, area: float) -> dict[str, np.ndarray]:
    """`global_mean`, `map_sd` and `annual_sd` of draws, each (draw,).

    Parameters
    ----------
    flux : array, (month, draw, cell)
        [gC m-2 d-1]; cells of equal area.
    days : array, (month,)
    area : float
        Of all land [m2].
    """
    lasting = np.tensordot(days / days.sum(), flux, axes=1) * DAYS_PER_MEAN_YEAR
    found = {"global_mean": lasting.mean(axis=1) * area / PETAGRAM, "map_sd": lasting.std(axis=1)}
    if len(flux) % 12 == 0 and len(flux) >= 24:
        monthly = flux.mean(axis=2) * days[:, None] * area / PETAGRAM
        found["annual_sd"] = monthly.reshape(-1, 12, flux.shape[1]).sum(axis=1).std(axis=0, ddof=1)
    return found


def prior_predictive(prepared: Prepared, ensemble: Ensemble, sd: PriorSds, seed: int, draws: int = DRAWS) -> pd.DataFrame:
    """Numbers of each draw.

    Returns
    -------
    DataFrame
        quantity, part (`network`, `u`, `a`, `g`, `all`), draw, value. At towers `all` is f + g.
    """
    random = np.random.default_rng([seed, zlib.crc32(b"prior_predictive")])
    models = draw_models(ensemble, sd, draws, random)
    numbers = _on_land(prepared, ensemble, models[:2], seed)
    if len(prepared.sites):
        numbers |= _at_sites(prepared, ensemble, models)
    return _rows(numbers)


def _rows(numbers: dict[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    parts = [pd.DataFrame({"quantity": q, "part": p, "draw": np.arange(len(v)), "value": v}) for (q, p), v in numbers.items()]
    return pd.concat(parts, ignore_index=True)


def _on_land(
    prepared: Prepared, ensemble: Ensemble, models: tuple[FluxModel, FluxModel], seed: int
) -> dict[tuple[str, str], np.ndarray]:  # fmt: skip
    cells, span = prepared.cells, whole_years(prepared.cube)
    chosen = equal_areas(cells.land_area, MOST_CELLS)
    cube = sub_cube(prepared.cube, span, chosen)
    at = cells.lat()[chosen], cells.lon()[chosen]
    place, days = ensemble.basis.at(*at), cube.steps.month_days
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *models)  # one compiled program
    every = np.stack([month.landscape for month in monthly_fluxes(both, cube, place, at)]).astype(np.float64)
    flux = dict(zip(("network", "u"), np.split(every, 2, axis=1), strict=True))
    if ensemble.anomaly is not None:
        seeds = np.array([[seed, zlib.crc32(b"prior_predictive"), i, 1] for i in range(flux["u"].shape[1])])
        drawn = replace(ensemble.anomaly, seed=seeds).prior_draws(cube.steps.months)
        flux["a"] = RegionalAnomalies(drawn, lambda own: cells.region_fraction[:, chosen][:, own]).at(slice(None), slice(None))
    flux[ALL] = np.sum(list(flux.values()), axis=0)
    area = float(cells.land_area.sum())
    return {(q, part): v for part, f in flux.items() for q, v in land_numbers(f, days, area).items()}


def sub_cube(cube: Cube, span: slice, cells: np.ndarray) -> Cube:
    """Some months and cells of a cube."""
    steps = cube.steps.of_months(span)
    own = slice(int(cube.steps.month_start[span.start]), int(cube.steps.month_start[span.start]) + len(steps.time))
    return replace(
        cube, static=cube.static[cells], seasonal=cube.seasonal[:, cells], dynamic=np.asarray(cube.dynamic[own][:, cells]), steps=steps,
        series=cube.series[own],
    )  # fmt: skip


def _at_sites(prepared: Prepared, ensemble: Ensemble, models: tuple[FluxModel, ...]) -> dict[tuple[str, str], np.ndarray]:
    """Mean and sd over sites of the draws' site means: of twelve calendar months, at the first row that a site has of each."""
    data, sites = prepared.observations, prepared.sites
    first = data.assign(row=np.arange(len(data)), month=pd.DatetimeIndex(data["time"]).month).drop_duplicates(["site", "month"])
    first = first[first.groupby("site")["month"].transform("count") == 12]
    if first.empty:
        return {}
    wave = wave_of(prepared.cube, pd.DatetimeIndex(first["time"]))
    lat, lon = (sites[c].reindex(first["site"]).to_numpy(float) for c in ("lat", "lon"))
    code = pd.factorize(first["site"])[0]
    found = {}
    for part, model in zip(("network", "u", "g"), models, strict=True):
        like = tower_fluxes(replace(ensemble, model=model), prepared.rows[first["row"].to_numpy()], lat, lon, wave)[1]
        found[part] = np.stack([np.bincount(code, one) / 12 for one in like.astype(np.float64)]) * DAYS_PER_MEAN_YEAR
    found[ALL] = np.sum(list(found.values()), axis=0)
    return {(q, p): f(v, axis=1) for p, v in found.items() for q, f in (("site_mean", np.mean), ("site_sd", np.std))}


def prior_table(drawn: pd.DataFrame, data: dict[str, float], fitted: dict[str, float]) -> pd.DataFrame:
    """The table `prior_predictive.csv`: median and central 90 % of the draws beside the data's and the fitted product's number.

    Effects that have no draw but 0 (g of a variant without it) have no row.

    Parameters
    ----------
    drawn : DataFrame
        See `prior_predictive`.
    data, fitted : dict
        By quantity; none where it is unknown (no data tell the sd of the map).
    """
    rows = []
    for (quantity, part), values in drawn.groupby(["quantity", "part"], sort=False)["value"]:
        if values.abs().max() > 0:
            low, middle, high = values.quantile([0.05, 0.5, 0.95])
            known = data.get(str(quantity), np.nan), fitted.get(str(quantity), np.nan)
            rows.append((quantity, part, len(values), low, middle, high, *known, UNITS[str(quantity)]))
    return pd.DataFrame(rows, columns=COLUMNS)


def known_numbers(regional: pd.DataFrame, product: str) -> dict[str, float]:
    """`global_mean` and `annual_sd` of a product's complete years, from `regional_monthly.csv`; empty where it is not there."""
    rows = regional[(regional["product"] == product) & (regional["region"] == "global") & regional["member"].isna()]
    years = rows.groupby(pd.DatetimeIndex(rows["time"]).year)["value"].agg(["sum", "count"])
    annual = years["sum"][years["count"] == 12]
    found = {"global_mean": float(annual.mean())} if len(annual) else {}
    return found | ({"annual_sd": float(annual.std(ddof=1))} if len(annual) > 1 else {})


def site_numbers(values: pd.DataFrame) -> dict[str, float]:
    """`site_mean` and `site_sd` of observations or predictions (site, time, nee)."""
    means = DAYS_PER_MEAN_YEAR * site_means(values)
    return {"site_mean": float(means.mean()), "site_sd": float(means.std(ddof=0))} if len(means) else {}


def map_sd(flux: np.ndarray, area: np.ndarray) -> float:
    """Standard deviation over land of a lasting flux, by area."""
    share = area / area.sum()
    return float(np.sqrt(share @ (flux - share @ flux) ** 2))

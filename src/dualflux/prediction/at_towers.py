"""The trained model at the towers, by members that have not seen them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.cube import Cube
from dualflux.model.ensemble import Ensemble
from dualflux.model.spatial_effect import HARMONICS, harmonics
from dualflux.model.time_effect import time_effect
from dualflux.prepared import Prepared

COLUMNS = ["product", "site", "group", "time", "observed", "landscape", "tower_like", "std", "site_effect"]


def tower_predictions(ensembles: dict[str, Ensemble], prepared: Prepared) -> pd.DataFrame:
    """Predict every observation with the members that have not seen its site.

    Returns
    -------
    DataFrame
        product, site, group, time, observed, landscape, tower_like, std (of tower_like over those members), site_effect (NaN: a left-out
        site has none) [gC m-2 d-1].
    """
    data, sites = prepared.observations, prepared.sites
    if data.empty:
        return pd.DataFrame(columns=COLUMNS)
    fold = sites.fold.reindex(data.site).to_numpy()
    group = sites.group.reindex(data.site).to_numpy()
    lat, lon = sites.lat.reindex(data.site).to_numpy(), sites.lon.reindex(data.site).to_numpy()
    wave = wave_of(prepared.cube, pd.DatetimeIndex(data.time))
    tables = []
    for name, ensemble in ensembles.items():
        landscape, tower_like = tower_fluxes(ensemble, prepared.rows, lat, lon, wave)
        blind = (ensemble.fold[:, None] == fold) | (ensemble.fold[:, None] < 0)
        count = blind.sum(axis=0)
        mean = [(values * blind).sum(axis=0, dtype=np.float64) / count for values in (landscape, tower_like)]
        variance = ((tower_like - mean[1]) ** 2 * blind).sum(axis=0) / np.maximum(count - 1, 1)
        tables.append(pd.DataFrame({
            "product": name, "site": data.site, "group": group, "time": data.time, "observed": data.nee,
            "landscape": mean[0], "tower_like": mean[1], "std": np.sqrt(variance), "site_effect": np.nan,
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def tower_fluxes(ensemble: Ensemble, rows: np.ndarray, lat: np.ndarray, lon: np.ndarray, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f and f + g of every member at the towers' rows, two arrays (member, row).

    Parameters
    ----------
    rows : array, (row, column)
    lat, lon : array, (row,)
        Of the towers [degrees].
    wave : array, (row, harmonic + series)
        Of `wave_of`.
    """
    effect = ensemble.basis.effect(np.asarray(ensemble.model.spatial), lat, lon, wave[:, :HARMONICS])
    if ensemble.model.series.shape[1]:
        effect = effect + time_effect(np.asarray(ensemble.model.series), lat, wave[:, HARMONICS:])
    effect = effect.astype(np.float32)
    found = jax.jit(lambda model, x, u: jax.lax.map(lambda one: one[0].fluxes(x, one[1]), (model, u)))(
        ensemble.model, jnp.asarray(rows), effect
    )
    return np.asarray(found.landscape), np.asarray(found.tower_like)


def wave_of(cube: Cube, time: pd.DatetimeIndex) -> np.ndarray:
    """Functions of time of the given steps: `spatial_effect.harmonics` and predictors of time alone, (row, harmonic + series)."""
    step = cube.steps.time.get_indexer(time)
    return np.concatenate([harmonics(cube.steps.season[step], len(cube.seasonal)), cube.series[step]], axis=1)


PREDICTIONS = "tower_predictions.csv"


def read_tower_predictions(folder: Path) -> pd.DataFrame:
    """What `save_models` wrote of the towers, see `tower_predictions`."""
    return pd.read_csv(folder / PREDICTIONS, dtype={"site": str}, parse_dates=["time"], keep_default_na=False, na_values=[""])

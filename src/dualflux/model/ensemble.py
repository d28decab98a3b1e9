"""Trained members of one variant as a file, and the folder of them."""

import json
from collections import namedtuple
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.errors import InputError
from dualflux.model.anomaly_effect import AnomalyEffect
from dualflux.model.distance_effect import DistanceEffect
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import HARMONICS, SpatialBasis
from dualflux.model.time_effect import ZONES
from dualflux.run_folder.files import whole_or_nothing
from dualflux.vegetation import Vegetation

FIRST_OWN = {"towers": ["site_effect", "log_error_floor", "log_error_growth"]}  # of files that do not say what constraints kept

_ANOMALY, _DISTANCE = "anomaly_", "distance_"


@dataclass(frozen=True)
class Ensemble:
    """Trained members of one variant.

    Attributes
    ----------
    model : FluxModel
        Arrays with a leading member axis.
    fold : array of int, (member,)
        The fold of sites a member has not seen; -1 where it has seen all.
    network : NetworkSettings
    predictors : tuple of str
        Names of the input columns, in order.
    basis : SpatialBasis
        Of the members' spatial effect.
    anomaly : AnomalyEffect or None
        What no predictor carries of regions and months; None where no regional anomalies were fitted, and in files of before.
    distance : DistanceEffect or None
        What members err by far from towers; None where no tower was trained on, and in files of before.
    """

    model: FluxModel
    fold: np.ndarray
    network: NetworkSettings
    predictors: tuple[str, ...]
    basis: SpatialBasis
    anomaly: AnomalyEffect | None = None
    distance: DistanceEffect | None = None

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.fold)

    def select(self, members: np.ndarray) -> "Ensemble":
        """The chosen members."""
        alone = None if self.anomaly is None else self.anomaly.select(members)
        beyond = None if self.distance is None else self.distance.select(members)
        model = jax.tree.map(lambda a: a[members], self.model)
        return replace(self, model=model, fold=self.fold[members], anomaly=alone, distance=beyond)

    def save(self, path: Path) -> None:
        """Write weights as plain arrays (no code, no pickle), all or nothing."""
        own = {name: kept._fields for name, kept in self.model.own.items()}
        about = {
            "network": self.network.model_dump(mode="json"),
            "predictors": self.predictors,
            "own": own,
            "series": self.model.series.shape[1],
            "vegetation": None if self.model.network.vegetation is None else self.model.network.vegetation.plain(),
        }
        arrays: dict[str, Any] = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.model))}
        for prefix, effect in ((_ANOMALY, self.anomaly), (_DISTANCE, self.distance)):
            arrays |= {} if effect is None else {f"{prefix}{name}": values for name, values in effect.arrays().items()}
        with whole_or_nothing(path) as partial, partial.open("wb") as file:
            np.savez(file, about=json.dumps(about), fold=self.fold, centre=self.basis.centre, length=self.basis.length, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Ensemble":
        """Read what `save` wrote.

        Raises
        ------
        InputError
            The file is not one of ours or is cut short.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                fold, basis = file["fold"], SpatialBasis(file["centre"], float(file["length"]))
                leaves = [jnp.asarray(file[f"leaf_{i}"]) for i in range(sum(name.startswith("leaf_") for name in file.files))]
                alone, beyond = (
                    {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
                    for prefix in (_ANOMALY, _DISTANCE)
                )
            if "series" not in about:  # files of before predictors of time alone have no such leaf
                leaves.append(jnp.zeros((len(fold), 0, len(ZONES))))
            settings, names = NetworkSettings(**about["network"]), tuple(about["predictors"])
            kept = about.get("own", FIRST_OWN)
            own = {name: namedtuple(name, fields)(*[jnp.zeros(0)] * len(fields)) for name, fields in kept.items()}
            scaled = about.get("vegetation")
            vegetation = None if scaled is None else Vegetation.of_plain(scaled)
            template = jax.eval_shape(lambda: FluxModel.create(jax.random.key(0), len(names), 0, own, settings, vegetation))
            model, effect = jax.tree.unflatten(jax.tree.structure(template), leaves), AnomalyEffect.of_arrays(alone) if alone else None
            return cls(_with_all_waves(model), fold, settings, names, basis, effect, DistanceEffect.of_arrays(beyond) if beyond else None)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(f"{path}: not a whole dualflux model ({error}); delete it and run `dualflux train`") from error


def _with_all_waves(model: FluxModel) -> FluxModel:
    """Files of before u had waves shorter than a year: theirs are 0."""
    missing = HARMONICS - model.spatial.shape[1]
    return FluxModel(
        model.network, model.representativeness, model.own, jnp.pad(model.spatial, ((0, 0), (0, missing), (0, 0))), model.series
    )


def load_models(folder: Path) -> tuple[dict[str, Ensemble], dict[tuple[str, str], Ensemble]]:
    """The study's own ensembles by variant, and those with something left out by (what, variant)."""
    own = {p.parent.name: Ensemble.load(p) for p in sorted(folder.glob("*/weights.npz"))}
    left_out = {(p.parent.parent.name, p.parent.name): Ensemble.load(p) for p in sorted(folder.glob("left_out/*/*/weights.npz"))}
    return own, left_out

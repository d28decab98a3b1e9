"""How fast networks are trained: against a plain PyTorch loop over members, and how the cost grows.

    python benchmarks/speed_training.py --out speed_training.json

Both rivals train the same networks on the same rows with the same settings in the same run. The PyTorch loop trains some of the
members, its time is multiplied up to all. `--quick` is a small task in 90 s: whether it runs, not what it shows (compiling is most of it).
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from training_world import INVERSION_TERM, Size, Task, make_task

from dualflux.fitting.parallel import unstack
from dualflux.fitting.training import Fit, Trainer, TrainingSettings, fit, keep
from dualflux.model.flux_model import FluxModel
from dualflux.run_folder.checkpoint import Checkpoint

FULL = Size(), TrainingSettings()
QUICK = Size(15.0, years=3, sites=40, tower_years=1, members=2, folds=2), TrainingSettings(steps=100)
RIVAL_MEMBERS = 3
BASE = Size(15.0, years=4, sites=50, tower_years=2, members=2, folds=2)
GROWN = {
    "cells": replace(BASE, resolution=7.5),
    "years": replace(BASE, years=16, tower_years=8),
    "members": replace(BASE, members=8),
    "features": replace(BASE, static=24, seasonal=24, dynamic=32),
}  # each four times as many
KILLED = Size(30.0, years=3, sites=30, tower_years=1, members=2, folds=2, time_step="monthly")


@dataclass(frozen=True)
class Curve:
    """Held-out loss of the averaged weights and seconds for all members at every checkpoint."""

    seconds: np.ndarray
    loss: np.ndarray

    def time_to(self, loss: float) -> float:
        """Seconds until a loss is reached, linear between checkpoints."""
        lowest = np.minimum.accumulate(self.loss)
        at = int(np.argmax(lowest <= loss))
        if at == 0:
            return float(self.seconds[0])
        part = (lowest[at - 1] - loss) / (lowest[at - 1] - lowest[at])
        return float(self.seconds[at - 1] + part * (self.seconds[at] - self.seconds[at - 1]))


def ours(task: Task, compared: int) -> tuple[Curve, Fit]:
    """All members; the loss is that of the first few. Compiling counts."""
    begun, seconds = time.perf_counter(), []
    found = fit(
        task.objective, task.members, task.family, task.network, task.training, len(task.cube.columns.names),
        task.cube.columns.invariant,
        lambda done, of: seconds.append(time.perf_counter() - begun),
    )  # fmt: skip
    loss = [
        float((t.validation_loss[:compared] / t.validation_weight[:compared]).mean())
        for t in (s.constraints["towers"] for s in found.scores)
    ]
    return Curve(np.array(seconds), np.array(loss)), found


def torch_loop(task: Task, compared: int) -> Curve:
    """The first few members one after the other, their time multiplied up to all."""
    import torch
    from torch_training import Data, Loop

    torch.manual_seed(1)
    data, members = Data.of(task), unstack(task.members)
    runs = [Loop(task, data, member).train() for member in members[:compared]]
    seconds = np.array([[at for at, _ in run] for run in runs]).sum(axis=0) * len(members) / compared
    loss = np.array([held_out_loss(task, [model for _, model in run], i) for i, run in enumerate(runs)])
    return Curve(seconds, loss.mean(axis=0))


def held_out_loss(task: Task, models: list[FluxModel], place: int) -> np.ndarray:
    """As `fit` scores its own: per unit of weight of the member's inner validation sites."""
    trainer = trainer_of(task)
    state = jax.tree.map(lambda a: a[place], trainer.begin().states)
    shared, count = trainer.parallel.share(task.objective), len(models)
    states = [state._replace(average=model) for model in models]
    found = trainer.parallel.map(trainer.look, shared, states, [unstack(task.members)[place]] * count)
    return np.array([float(s.validation_loss / s.validation_weight) for s in (one.constraints["towers"] for one in found)])


def trainer_of(task: Task) -> Trainer:
    """What `fit` trains with."""
    return Trainer.create(
        task.objective, task.members, task.family, task.network, task.training, len(task.cube.columns.names), task.cube.columns.invariant
    )  # fmt: skip


def samples_per_step(task: Task) -> int:
    """Rows of predictors a member's step goes through forward and back: of towers, and of two samples of regional locations."""
    return task.training.batch + 2 * INVERSION_TERM.locations * INVERSION_TERM.years * 12 * len(task.cells.region_names)


def interval_seconds(size: Size, repeats: int = 3) -> float:
    """Seconds from one checkpoint to the next with a control variate between, compiled before."""
    task = make_task(size, TrainingSettings(steps=100))
    trainer = trainer_of(task)
    progress, best = trainer.begin(), np.inf
    for _ in range(1 + repeats):
        begun = time.perf_counter()
        progress = trainer.advance(trainer.set_controls(progress, keep), controlled=True)
        best = min(best, time.perf_counter() - begun)
    return best


def exponents() -> dict[str, float]:
    """p in cost ~ size^p, from a small task and one four times as large in one respect."""
    base = interval_seconds(BASE)
    return {f"train_exponent_{name}": float(np.log(interval_seconds(size) / base) / np.log(4)) for name, size in GROWN.items()}


def measure(quick: bool) -> dict[str, float]:
    """Time of all networks, of the PyTorch loop over it to the same held-out loss, samples per second, exponents (not if quick)."""
    task = make_task(*(QUICK if quick else FULL))
    compared = 1 if quick else RIVAL_MEMBERS
    (own, _), rival = ours(task, compared), torch_loop(task, compared)
    target = max(own.loss[-1], rival.loss[-1])
    chunk = len(task.family) * (task.training.steps // task.training.checkpoints)
    return {
        "train_networks": len(task.family),
        "train_50_networks_s": float(own.seconds[-1]) * 50 / len(task.family),
        "torch_50_networks_s": float(rival.seconds[-1]) * 50 / len(task.family),
        "torch_train_ratio": rival.time_to(target) / own.time_to(target),
        "train_heldout_loss": float(own.loss[-1]),
        "torch_heldout_loss": float(rival.loss[-1]),
        "train_samples_per_s": chunk * samples_per_step(task) / float(np.median(np.diff(own.seconds))),
        "torch_samples_per_s": chunk * samples_per_step(task) / float(np.median(np.diff(rival.seconds))),
        **({} if quick else exponents()),
    }


# Killed and resumed


def resume_identical(kills: int, seed: int = 1) -> bool:
    """A training in a process of its own, killed at random moments and started again, against one left alone: bit by bit."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        lives = 0
        while lives < kills:
            process = start_life(killed, kills)
            assert process.stdout is not None
            for _ in range(chance.randrange(3)):
                process.stdout.readline()
            time.sleep(chance.random())
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                raise RuntimeError("the training came to its end before it could be killed; give it more checkpoints")
            lives += 1
        for place in (killed, alone):
            process = start_life(place, kills)
            if process.communicate()[0] is None or process.returncode:
                raise RuntimeError(f"the training failed with status {process.returncode}")
        with np.load(killed / "fit.npz") as one, np.load(alone / "fit.npz") as other:
            return one.files == other.files and all(np.array_equal(one[name], other[name]) for name in one.files)


def start_life(place: Path, kills: int) -> "subprocess.Popen[str]":
    """The training of `live`; compiled programs are kept between lives."""
    place.mkdir(exist_ok=True)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(place.parent / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, __file__, "--live", str(place), "--kills", str(kills)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **cache})


def live(place: Path, kills: int) -> None:
    """Train on, say each checkpoint, and write everything a fit leaves."""
    checkpoints = 4 * kills + 4  # two in a life at most, and one while it dies
    task = make_task(KILLED, TrainingSettings(steps=20 * checkpoints, checkpoints=checkpoints, batch=64))
    checkpoint = Checkpoint(place / "networks.checkpoint", "this task", lambda line: None)
    found = fit(
        task.objective, task.members, task.family, task.network, task.training, len(task.cube.columns.names),
        task.cube.columns.invariant,
        lambda done, of: print(done, flush=True), checkpoint=checkpoint,
    )  # fmt: skip
    leaves: list[Any] = jax.tree.leaves((found.snapshots, found.scores, found.steps, found.sd))
    np.savez(place / "fit.npz", *leaves)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("speed_training.json"))
    parser.add_argument("--quick", action="store_true", help="a small task: whether it runs, not what it shows")
    parser.add_argument("--kills", type=int, default=0, help="also kill and resume a training so many times")
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.live is not None:
        live(options.live, options.kills)
        return
    found: dict[str, Any] = measure(options.quick)
    if options.kills:
        found["train_resume_identical"] = resume_identical(options.kills)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()

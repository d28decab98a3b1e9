"""Training that is interrupted and gone on with, and training on any number of cores or devices: the same to the last bit."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualflux import pipeline
from dualflux.constraints.inversions.integrals import RepresentativeLocations
from dualflux.constraints.inversions.locations import draw_locations
from dualflux.fitting import parallel
from dualflux.fitting.objective import Control, Member, Objective
from dualflux.fitting.parallel import Parallel, Program
from dualflux.fitting.training import Fit, TrainingSettings, fit, keep
from dualflux.model.flux_model import FluxModel
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.study.settings import load_study
from small_world import NETWORK, make_cube, make_objective, make_regional, make_stack, make_towers, quick_compilation, study_runs
from tiny_study import write_tiny_study

CUBE = make_cube()
TOWERS = make_towers(CUBE)
REGIONAL = make_regional(CUBE)
STACK = make_stack(make_objective(CUBE, TOWERS, REGIONAL), study_runs(("inversions", "dual")))
SETTINGS = TrainingSettings(steps=20, checkpoints=4, anchors=2, batch=32)


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


class Killed(BaseException):
    """What a kill looks like from inside."""


def kill(done: int, of: int) -> None:
    raise Killed


def objective_with_structure() -> Objective:
    """Fixed locations, as the representative estimator has them."""
    objective = make_objective(CUBE, TOWERS, REGIONAL)
    regions = objective["inversions"].regions
    places = draw_locations(regions.strata, jax.random.key(1), 2)
    structure = RepresentativeLocations(places, bias=jnp.zeros(3), variance=jnp.zeros((3, 3)))
    return objective.with_constraint(objective["inversions"].going_on(structure))


def other_places(objective: Objective, models: FluxModel, controls: Control, members: Member) -> tuple[Objective, Member]:
    """Locations that follow from where the members are, and another sd of g."""
    seed = int(np.abs(np.asarray(models.network.weights[0])).sum() * 1e6)
    inversions = objective["inversions"]
    places = draw_locations(inversions.regions.strata, jax.random.key(seed), 2)
    structure = inversions.in_training()
    assert structure is not None
    changed = objective.with_constraint(inversions.going_on(structure._replace(locations=places)))
    return changed, members._replace(sd={**members.sd, "representativeness": members.sd["representativeness"] / 2})


def train(objective: Objective, checkpoint: Checkpoint | None = None, interrupted: bool = False) -> Fit:
    renew = other_places if objective["inversions"].in_training() is not None else keep
    report = kill if interrupted else lambda done, of: None
    columns = CUBE.columns
    inputs, invariant = len(columns.names), columns.invariant
    return fit(objective, STACK.members, STACK.family, NETWORK, SETTINGS, inputs, invariant, report, renew, checkpoint)


def require_same(one: Fit, other: Fit) -> None:
    leaves = [jax.tree.leaves((f.snapshots, f.scores, f.steps, f.sd)) for f in (one, other)]
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("structure", [False, True], ids=["drawn", "fixed_and_refreshed"])
def test_killed_at_every_checkpoint_ends_as_if_undisturbed(tmp_path: Path, structure: bool) -> None:
    """The state, averages, optimiser, anchors, locations, sds and records of four lives are those of one."""
    objective = objective_with_structure() if structure else make_objective(CUBE, TOWERS, REGIONAL)
    said: list[str] = []
    checkpoint = Checkpoint(tmp_path / "networks.checkpoint", "this", said.append)
    for _ in range(SETTINGS.checkpoints):
        with pytest.raises(Killed):
            train(objective, checkpoint, interrupted=True)
    found = train(objective, checkpoint)
    assert [line.rpartition(" ")[2] for line in said] == ["1", "2", "3", "4"]
    require_same(found, train(objective))


def test_a_damaged_or_foreign_checkpoint_is_said_and_training_starts_anew(tmp_path: Path) -> None:
    objective, said = make_objective(CUBE, TOWERS, REGIONAL), list[str]()
    checkpoint = Checkpoint(tmp_path / "networks.checkpoint", "this", said.append)
    with pytest.raises(Killed):
        train(objective, checkpoint, interrupted=True)
    undisturbed = train(objective)
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[: len(whole) // 2])
    require_same(train(objective, checkpoint), undisturbed)
    checkpoint.path.write_bytes(whole)
    require_same(train(objective, replace(checkpoint, made_from="that")), undisturbed)
    assert len(said) == 2 and "not whole" in said[0] and "made from other" in said[1]


def test_a_run_that_is_killed_in_its_trainings_ends_as_if_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed after each checkpoint of both trials and of the networks: the same files, and no checkpoint is left."""
    term = {"estimator": "stratified", "locations": 2, "years": 2, "weight": "auto"}
    file = write_tiny_study(tmp_path / "world", variants=["dual"], inversion_term=term)
    for place in ("alone", "killed"):
        if place == "killed":
            monkeypatch.setattr(Checkpoint, "write", die_after(Checkpoint.write))
            for _ in range(6):
                with pytest.raises(Killed):
                    pipeline.run(load_study(file, out=tmp_path / place), tmp_path / place, ["train"])
            monkeypatch.undo()
            capsys.readouterr()
        pipeline.run(load_study(file, out=tmp_path / place), tmp_path / place, ["train"])
        assert not list((tmp_path / place).rglob("*.checkpoint"))
    said = capsys.readouterr().err
    assert all(f"{name}.checkpoint: going on from step 2" in said for name in ("weight", "series", "networks"))
    written = [
        {p.relative_to(top): p.read_bytes() for p in top.rglob("*.*")} for top in (tmp_path / "alone/models", tmp_path / "killed/models")
    ]
    assert written[0] == written[1] and Path("dual/weights.npz") in written[0]


def die_after(write: Callable[..., None]) -> Callable[..., None]:
    """Write, and be killed."""

    def written(self: Checkpoint, step: int, arrays: list[np.ndarray]) -> None:
        write(self, step, arrays)
        raise Killed

    return written


# Cores and devices


def test_results_do_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, found = make_objective(CUBE, TOWERS, REGIONAL), []
    for count in (1, 3):
        monkeypatch.setattr(parallel, "cores", lambda count=count: count)
        assert len(Parallel().devices) == count
        found.append(train(objective))
    require_same(*found)


def test_results_do_not_depend_on_the_number_of_devices(tmp_path: Path) -> None:
    """Three devices in another process, which compiles for each of them."""
    np.savez(tmp_path / "one.npz", *jax.tree.leaves(train(make_objective(CUBE, TOWERS, REGIONAL)).snapshots))
    cache = str(jax.config.jax_compilation_cache_dir)  # type: ignore[attr-defined]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=3", "PYTHONPATH": path}
    subprocess.run([sys.executable, __file__, str(tmp_path / "three.npz"), cache], check=True, env=environment)
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "three.npz") as three:
        assert one.files == three.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], three[name])


def test_every_member_is_computed_once_and_in_its_place() -> None:
    shared, values = Parallel().share(jnp.float32(10)), [np.float32(i) for i in range(20)]
    assert Parallel().map(Program(lambda ten, x, y: ten * x + y), shared, values, values[::-1]) == [10 * i + 19 - i for i in range(20)]


def test_the_first_failure_of_a_member_is_raised() -> None:
    def refuse(value: np.ndarray) -> np.ndarray:
        raise ValueError(f"member {value}")

    program = Program(lambda _, x: jax.pure_callback(refuse, jax.ShapeDtypeStruct((), np.float32), x))
    with pytest.raises(Exception, match="member 0"):
        Parallel().map(program, Parallel().share(None), [np.float32(i) for i in range(4)])


if __name__ == "__main__":  # the process of `test_results_do_not_depend_on_the_number_of_devices`
    assert len(jax.local_devices()) == 3
    with quick_compilation(Path(sys.argv[2])):
        np.savez(sys.argv[1], *jax.tree.leaves(train(make_objective(CUBE, TOWERS, REGIONAL)).snapshots))

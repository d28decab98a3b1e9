"""`predict` does no harm: killed at any moment, with any part of its folder damaged, beside other work, on networks that do not belong."""

import dataclasses
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dualflux.errors import InputError
from dualflux.prediction import in_chunks
from dualflux.prediction.kernel import EnsembleKernel
from dualflux.run_folder.files import read_sealed, write_sealed
from dualflux.run_folder.lock import hold_lock
from dualflux.run_folder.run_folder import RunFolder, Stage
from dualflux.stages.predict_elsewhere import predict
from dualflux.study.settings import Study
from predict_world import finished_run

YEAR = (date(2001, 1, 1), date(2001, 12, 31))


class Killed(BaseException):
    """The process is gone: nothing that is written, moved or removed after it reaches the disk either."""


class _Killer:
    """Counts events that change files in a folder, and lets the n-th and all after it fail."""

    def __init__(self) -> None:
        self.folder, self.at, self.count, self.names = "", 0, 0, list[str]()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.folder or event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"):
            return
        names = [os.fsdecode(a) for a in args if isinstance(a, (str, bytes, os.PathLike))]
        # The lock is the kernel's: it is free once a process is dead.
        if not any(n.startswith(self.folder) and not n.endswith("/lock") for n in names):
            return
        if event == "open" and not (args[2] if isinstance(args[2], int) else 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        self.count += 1
        self.names.append(f"{event} {names[-1].removeprefix(self.folder)}")
        if self.at and self.count >= self.at:
            raise Killed


KILLER = _Killer()


@pytest.fixture(scope="module", name="study")
def _study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A finished run whose kernels are compiled once."""
    compiled: dict[Any, EnsembleKernel] = {}

    def once(model: Any, shape: Any, steps: bool = False) -> EnsembleKernel:
        if (shape, steps) not in compiled:
            compiled[shape, steps] = EnsembleKernel(model, shape, steps)
        return compiled[shape, steps]

    sys.addaudithook(KILLER)  # for good: Python has no way to remove one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dualflux.prediction.engine.EnsembleKernel", once)
        yield finished_run(tmp_path_factory.mktemp("safe"), "monthly")[0]


def quiet(study: Study, out: Path, **options: Any) -> None:
    predict(study, out, **{"period": YEAR, "say": lambda line: None, **options})


def killed(study: Study, out: Path, at: int) -> bool:
    """Whether it was, at the n-th event; workers of this process are forgotten as those of another would be."""
    in_chunks._made.cache_clear()
    KILLER.folder, KILLER.at, KILLER.count = str(out), at, 0
    try:
        quiet(study, out, form="netcdf")
    except Killed:
        return True
    finally:
        KILLER.folder = ""
        in_chunks._made.cache_clear()
    return False


def files_of(folder: Path) -> dict[str, bytes]:
    """All files but what holds times."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("lock", "checksums.json") and p.suffix != ".nc"
    }


@pytest.fixture(scope="module", name="right")
def _right(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("right") / "out"
    quiet(study, out, form="netcdf")
    return files_of(out)


def moments(study: Study, folder: Path) -> int:
    """Number of events of one prediction."""
    KILLER.names.clear()
    assert not killed(study, folder / "count", 0)
    return KILLER.count


def require_the_same(study: Study, out: Path, right: dict[str, bytes], what: str) -> None:
    """The same command again gives every file as it should be, no other, and a NetCDF file that is whole."""
    quiet(study, out, form="netcdf")
    found = files_of(out)
    assert set(found) == set(right), f"{what}: {sorted(set(found) ^ set(right))}"
    assert found == right, f"{what}: {[n for n in right if found[n] != right[n]]}"
    assert [p.name for p in (out / "dual").glob("*.nc*")] == ["nee_monthly.nc"], what
    with xr.open_dataset(out / "dual/nee_monthly.nc", engine="h5netcdf") as data:
        assert float(data.land_area.sum()) > 0 and data.nee.notnull().any(), what


def nothing_wrong_opens(out: Path, what: str) -> None:
    """What a killed command left either does not open or is whole."""
    store = out / "dual/nee_monthly.zarr"
    if (store / "zarr.json").exists():
        with xr.open_zarr(store, chunks=None) as data:
            land = data.land_area.to_numpy() > 0
            assert land.any() and np.isfinite(data.nee.to_numpy()[:, land]).all(), what


def kill_at(study: Study, right: dict[str, bytes], folder: Path, places: list[int]) -> None:
    for at in places:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        assert killed(study, out, at)
        what = f"event {at}, {KILLER.names[-1]}"
        nothing_wrong_opens(out, what)
        require_the_same(study, out, right, what)


def test_killed_at_some_moments_it_goes_on_to_the_same_bytes(study: Study, right: dict[str, bytes], tmp_path: Path) -> None:
    """Six moments over the whole command, the first of a land area among them; all of them are in the slow test."""
    count = moments(study, tmp_path)
    area = 1 + next(i for i, name in enumerate(KILLER.names) if "/land_area/" in name)
    kill_at(study, right, tmp_path, [area, area + 2, *np.linspace(count / 8, count, 4).astype(int).tolist()])


@pytest.mark.slow
def test_killed_at_every_moment_it_goes_on_to_the_same_bytes(study: Study, right: dict[str, bytes], tmp_path: Path) -> None:
    kill_at(study, right, tmp_path, list(range(1, moments(study, tmp_path) + 1)))


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DESCRIBED = [f"dual/nee_monthly.zarr/{name}" for name in ("zarr.json", "lat/zarr.json", "land_area/c/0/0", "nee/zarr.json")]
MORE_DESCRIBED = [
    *(f"dual/nee_monthly.zarr/{n}" for n in ("time_bounds/c/0/0", "applicability/c/0/0", "member/zarr.json", "nee_std_total/c/0/0/0")),
    *(f"predictors/{n}" for n in ("region_fraction.npy", "zarr.json", "dynamic/zarr.json", "mean_year/c/0/0/0")),
    "predictors/.chunks/layout.json.json",
    *(f"dual/.chunks/{n}" for n in ("nee_monthly.zarr.json", "b00000_s000.npy", "b00000_s000.json", "integrals.npy")),
    "predictors/layout.json",
]  # fmt: skip


def flip_all(study: Study, out: Path, right: dict[str, bytes], names: list[str]) -> None:
    quiet(study, out, form="netcdf")
    for name in names:
        flip(out / name)
        require_the_same(study, out, right, name)


def test_a_flipped_bit_is_found_and_mended(study: Study, right: dict[str, bytes], tmp_path: Path) -> None:
    """In the root, in metadata and land area of a product, and in what describes the predictors."""
    flip_all(study, tmp_path, right, [*DESCRIBED, "predictors/index.npy", "tables/regional_monthly.csv"])


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_found_and_mended(study: Study, right: dict[str, bytes], tmp_path: Path) -> None:
    """Coordinates, applicability, fluxes, integrals, predictors, regions, notes."""
    flip_all(study, tmp_path, right, MORE_DESCRIBED)


def test_a_lost_or_cut_file_is_mended(study: Study, right: dict[str, bytes], tmp_path: Path) -> None:
    quiet(study, tmp_path, form="netcdf")
    (tmp_path / "dual/nee_monthly.zarr/land_area/c/0/0").unlink()
    (tmp_path / "predictors/land_area.npy").unlink()
    os.truncate(tmp_path / "dual/nee_monthly.zarr/lon/c/0", 5)
    require_the_same(study, tmp_path, right, "lost files")


def test_a_note_of_what_it_was_made_from_is_not_guessed(study: Study, tmp_path: Path) -> None:
    quiet(study, tmp_path)
    flip(tmp_path / "dual/.chunks/made_from.json")
    assert "nobody knows what" in refused(study, tmp_path)


# Networks and what they stand on


def refused(study: Study, out: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        quiet(study, out, **options)
    return str(caught.value)


@pytest.fixture(name="copy")
def _copy(study: Study, tmp_path: Path) -> Study:
    """The run in a folder of its own, to be changed."""
    shutil.copytree(study.out, tmp_path / "run")
    return dataclasses.replace(study, out=tmp_path / "run")


def change_prepared(out: Path, factor: float) -> None:
    """Another preparation, as `dualflux prepare` leaves it: what standardises the columns is another by a factor."""
    saved = shutil.copytree(out / "prepared", out / "saved")

    def again() -> None:
        shutil.copytree(saved, out / "prepared", dirs_exist_ok=True)
        with np.load(saved / "cells.npz") as file:
            arrays = dict(file)
        np.savez(out / "prepared/cells.npz", **{**arrays, "scale": arrays["scale"] * factor})

    with RunFolder(out, 0, say=lambda line: None) as run:
        run.stage(Stage("prepare", {"factor": factor}, (), ["prepared"]), again)


def test_networks_of_an_earlier_preparation_are_refused(copy: Study, tmp_path: Path) -> None:
    change_prepared(copy.out, 1.4)
    assert "train was made from an earlier prepare, which has changed since; `dualflux run` first" in refused(copy, tmp_path / "out")
    assert not (tmp_path / "out/predictors").exists() and not (tmp_path / "out/dual").exists()


def test_the_same_preparation_made_again_is_the_same(copy: Study, tmp_path: Path) -> None:
    change_prepared(copy.out, 1.0)
    quiet(copy, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prepared/cells.npz", "cells.npz was changed or is corrupt"),
        ("prepared/sites.csv", "sites.csv was changed or is corrupt"),
        ("prepared/dynamic.npy", "dynamic.npy was changed or is corrupt"),
        ("models/tower_predictions.csv", "tower_predictions.csv was changed or is corrupt"),
        ("models/dual/weights.npz", "weights.npz was changed or is corrupt"),
        (".dualflux/stage_train.json", "train is not done; `dualflux run` first"),
        (".dualflux/stage_prepare.json", "prepare is not done"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(copy: Study, tmp_path: Path, name: str, message: str) -> None:
    flip(copy.out / name)
    assert message in refused(copy, tmp_path / "out")


def test_all_that_is_wrong_with_a_run_is_said_at_once(copy: Study, tmp_path: Path) -> None:
    flip(copy.out / "prepared/cells.npz")
    (copy.out / "prepared/target.nc").unlink()
    said = refused(copy, tmp_path / "out")
    assert "cells.npz was changed" in said and "target.nc is missing" in said


def test_networks_put_beside_those_of_the_run_are_refused(copy: Study, tmp_path: Path) -> None:
    shutil.copytree(copy.out / "models/dual", copy.out / "models/mine")
    assert "was not made by prepare or train" in refused(copy, tmp_path / "out", variant="mine")


# Who else is there


def test_a_run_at_work_is_not_read(study: Study, tmp_path: Path) -> None:
    with hold_lock(study.out / ".dualflux", study.out, print):
        assert "a run is working in this folder" in refused(study, tmp_path / "out")


def test_a_run_that_is_read_is_not_changed_but_may_be_read_by_others(study: Study, tmp_path: Path) -> None:
    with open(study.out / ".dualflux/lock", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        quiet(study, tmp_path / "out")
        with pytest.raises(InputError, match="is working in this folder"), hold_lock(study.out / ".dualflux", study.out, print):
            pass


def test_the_run_is_locked_while_it_is_read(study: Study, tmp_path: Path) -> None:
    tried = []

    def advance(text: str) -> Callable[[int, int], None]:
        def told(done: int, of: int) -> None:
            with pytest.raises(InputError, match="is working"), hold_lock(study.out / ".dualflux", study.out, print):
                pass
            tried.append(text)

        return told

    quiet(study, tmp_path / "out", advance=advance)
    assert {"reading predictors", "upscaling"} <= set(tried)


def test_a_run_left_by_another_host_is_not_read(copy: Study, tmp_path: Path) -> None:
    (copy.out / ".dualflux/lock").write_text('{"pid": 1, "host": "elsewhere", "since": "today"}', encoding="utf-8")
    assert "a run on elsewhere has not released this folder" in refused(copy, tmp_path / "out")


def test_files_of_others_stay(copy: Study, tmp_path: Path) -> None:
    assert "is the run itself" in refused(copy, copy.out)
    shutil.copytree(copy.out, tmp_path / "second")
    assert "is the folder of another run" in refused(copy, tmp_path / "second")
    mine = tmp_path / "out/tables/regional_monthly.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    assert "is not of this command and is not overwritten" in refused(copy, tmp_path / "out") and mine.read_text(encoding="utf-8") == "mine"
    (tmp_path / "third/dual").mkdir(parents=True)
    (tmp_path / "third/dual/nee_monthly.nc").write_text("mine", encoding="utf-8")
    assert "files that are not of this command (nee_monthly.nc)" in refused(copy, tmp_path / "third")


def test_notes_of_the_user_survive_every_redo(study: Study, right: dict[str, bytes], tmp_path: Path) -> None:
    quiet(study, tmp_path)
    notes = [tmp_path / name for name in ("notes.txt", "dual/notes.txt", "dual/nee_monthly.zarr/notes.txt", "tables/notes.txt")]
    for note in notes:
        note.write_text("mine", encoding="utf-8")
    flip(tmp_path / "dual/nee_monthly.zarr/lat/zarr.json")
    quiet(study, tmp_path)
    assert all(note.read_text(encoding="utf-8") == "mine" for note in notes)
    assert {n: b for n, b in files_of(tmp_path).items() if "notes" not in n} == right


@pytest.mark.parametrize("resolution", [0.049, 1e-9, 0.0, -1.0, float("nan"), 91.0])
def test_a_grid_that_is_too_fine_or_none_is_refused_at_once(study: Study, tmp_path: Path, resolution: float) -> None:
    said = refused(study, tmp_path / "out", resolution=resolution)
    assert "resolution" in said and not (tmp_path / "out").exists()


def test_predictors_that_change_meanwhile_are_noticed(study: Study, tmp_path: Path) -> None:
    """A predictor is another once it was read; nothing is made of it, also not when it is put back."""
    shutil.copytree(study.root, tmp_path / "data")
    moved = dataclasses.replace(study, root=tmp_path / "data")

    def advance(text: str) -> Callable[[int, int], None]:
        return lambda done, of: flip(tmp_path / "data/height.nc") if text == "preparing predictors" and done == 1 else None

    assert "changed while they were read" in refused(moved, tmp_path / "out", advance=advance)
    assert not (tmp_path / "out/tables").exists() and not (tmp_path / "out/dual").exists()
    flip(tmp_path / "data/height.nc")
    assert "not of this command" in refused(moved, tmp_path / "out")


def test_the_note_of_the_table_is_ours(study: Study, tmp_path: Path) -> None:
    """Written before the table: a kill between the two does not make the table a stranger's."""
    write_sealed(tmp_path / ".dualflux/predict_table.json", {"writes": "tables/regional_monthly.csv"})
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/regional_monthly.csv").write_text("half", encoding="utf-8")
    quiet(study, tmp_path)
    assert read_sealed(tmp_path / ".dualflux/predict_table.json") is not None
    assert "dual" in (tmp_path / "tables/regional_monthly.csv").read_text(encoding="utf-8")

"""The file an interrupted computation goes on from: what was written comes back, and nothing else does."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, floating_dtypes, integer_dtypes

from dualflux.run_folder.checkpoint import Checkpoint

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int32), np.zeros((0, 4))]
IN_TMP = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def checkpoint(folder: Path, made_from: str = "these settings") -> tuple[Checkpoint, list[str]]:
    said: list[str] = []
    return Checkpoint(folder / "x.checkpoint", made_from, said.append), said


@IN_TMP
@given(st.integers(0, 10**6), st.lists(arrays(floating_dtypes() | integer_dtypes(), array_shapes(min_dims=0)), max_size=4))
def test_what_was_written_comes_back_bit_by_bit(tmp_path: Path, step: int, written: list[np.ndarray]) -> None:
    """Kinds, shapes and every bit, NaN and -0 included; nothing beside the file is left."""
    kept, said = checkpoint(tmp_path)
    kept.write(1, ARRAYS)
    kept.write(step, written)
    found = kept.read()
    assert found is not None and found[0] == step and len(found[1]) == len(written)
    for one, other in zip(found[1], written, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    assert said == [f"{kept.path}: going on from step {step}"]
    assert list(tmp_path.iterdir()) == [kept.path]


def test_nothing_is_said_where_nothing_is(tmp_path: Path) -> None:
    kept, said = checkpoint(tmp_path)
    assert kept.read() is None and not said
    kept.write(3, ARRAYS)
    kept.remove()
    kept.remove()
    assert kept.read() is None and not said and not list(tmp_path.iterdir())


@IN_TMP
@given(st.data())
def test_any_changed_or_missing_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    kept, said = checkpoint(tmp_path)
    kept.write(3, ARRAYS)
    whole = kept.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        kept.path.write_bytes(whole[:place])
    else:
        kept.path.write_bytes(whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :])
    assert kept.read() is None
    assert said == [f"{kept.path}: not whole, its checksum is another; starting anew"]


def test_a_file_made_from_anything_else_is_not_used(tmp_path: Path) -> None:
    checkpoint(tmp_path)[0].write(3, ARRAYS)
    other, said = checkpoint(tmp_path, "these settings, changed")
    assert other.read() is None
    assert said == [f"{other.path}: made from other settings, inputs or programs; starting anew"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the last state that was written whole is the one to go on from."""
    kept, _ = checkpoint(tmp_path)
    kept.write(3, ARRAYS)

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        kept.write(4, ARRAYS)
    found = kept.read()
    assert found is not None and found[0] == 3
    assert list(tmp_path.iterdir()) == [kept.path]

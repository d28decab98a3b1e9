"""A file that a long computation goes on from after it was interrupted."""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualflux.run_folder.files import whole_or_nothing

_SEAL = 64  # characters of a SHA-256


@dataclass(frozen=True)
class Checkpoint:
    """Arrays as they were at some step, with what they were made from and a checksum over all; no code, no pickle.

    Attributes
    ----------
    path : Path
    made_from : str
        Digest of all that decides the result; a file made from anything else is not used.
    say : callable
        Receives one line where a file is gone on from, or is there and cannot be used.
    """

    path: Path
    made_from: str
    say: Callable[[str], None]

    def write(self, step: int, arrays: Sequence[np.ndarray]) -> None:
        """Replace the file, all or nothing."""
        content = io.BytesIO()
        leaves: dict[str, Any] = {f"leaf_{i}": a for i, a in enumerate(arrays)}
        np.savez(content, made_from=np.array(self.made_from), step=np.array(step), **leaves)
        seal = hashlib.sha256(content.getbuffer()).hexdigest().encode()
        with whole_or_nothing(self.path) as partial, partial.open("wb") as file:
            file.write(seal)
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[int, list[np.ndarray]] | None:
        """Step and arrays of the last `write`; None where there is none that can be used, which is said."""
        if not self.path.is_file():
            return None
        content = self.path.read_bytes()
        if hashlib.sha256(content[_SEAL:]).hexdigest().encode() != content[:_SEAL]:
            self.say(f"{self.path}: not whole, its checksum is another; starting anew")
            return None
        with np.load(io.BytesIO(content[_SEAL:]), allow_pickle=False) as file:
            if str(file["made_from"]) != self.made_from:
                self.say(f"{self.path}: made from other settings, inputs or programs; starting anew")
                return None
            step = int(file["step"])
            self.say(f"{self.path}: going on from step {step}")
            return step, [file[f"leaf_{i}"] for i in range(len(file.files) - 2)]

    def remove(self) -> None:
        """Remove the file: the computation has come to its end."""
        self.path.unlink(missing_ok=True)

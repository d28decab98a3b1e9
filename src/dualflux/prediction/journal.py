"""Which chunks are whole: a sealed note per chunk with the checksums of its files, written after them.

A chunk whose process was killed has no note, one that was damaged since does not fit its note; both are done again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dualflux.errors import InputError
from dualflux.run_folder.files import read_sealed, sha256, write_sealed

FOLDER = ".chunks"


@dataclass(frozen=True)
class Journal:
    """Notes beside the files of one store.

    Attributes
    ----------
    folder : Path
        The store.
    """

    folder: Path

    def begin(self, made_from: dict[str, object]) -> None:
        """Note what the store is made from.

        Raises
        ------
        InputError
            The store was begun from something else.
        """
        note = self.folder / FOLDER / "made_from.json"
        there = read_sealed(note)
        if there is None:
            note.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(note, made_from)
        elif there != made_from:
            changed = ", ".join(k for k in {**there, **made_from} if there.get(k) != made_from.get(k))
            raise InputError(f"{self.folder} was made with other settings or inputs ({changed}); choose another folder or delete this one")

    def is_done(self, chunk: str) -> bool:
        """Whether the chunk's files are there and as they were written."""
        note = read_sealed(self.folder / FOLDER / f"{chunk}.json")
        return note is not None and all((self.folder / p).is_file() and sha256(self.folder / p) == digest for p, digest in note.items())

    def mark(self, chunk: str, files: Iterable[Path]) -> None:
        """Note that the files are whole."""
        write_sealed(self.folder / FOLDER / f"{chunk}.json", {p.relative_to(self.folder).as_posix(): sha256(p) for p in files})

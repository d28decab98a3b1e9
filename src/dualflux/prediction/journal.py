"""Which chunks are whole: a sealed note per chunk with the checksums of its files, written after them.

A chunk whose process was killed has no note, one that was damaged since does not fit its note; both are done again.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dualflux.errors import InputError
from dualflux.run_folder.files import read_sealed, sha256, write_sealed

T = TypeVar("T")
FOLDER = ".chunks"
_MADE_FROM = "made_from.json"
UNFINISHED = (".*.tmp", "*.partial")  # what we, NumPy's files and Zarr call a file that is not whole yet


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
        """Note what the store is made from; what a killed process left unfinished is removed.

        Raises
        ------
        InputError
            The store was begun from something else, its note is damaged, or the folder holds what is not ours.
        """
        note = self.path(_MADE_FROM)
        there = read_sealed(note)
        if there is not None and there != made_from:
            changed = ", ".join(k for k in {**there, **made_from} if there.get(k) != made_from.get(k))
            raise InputError(f"{self.folder} was made with other settings or inputs ({changed}); choose another folder or delete this one")
        if there is None and note.exists():
            raise InputError(f"{note} is damaged, so nobody knows what {self.folder} was made from; delete that folder and run again")
        if there is None:
            strange = sorted(p.name for p in self.folder.glob("*") if p.name != FOLDER)
            if strange:
                raise InputError(
                    f"{self.folder} holds files that are not of this command ({', '.join(strange[:3])}); choose another folder"
                )
            note.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(note, made_from)
        for left in [p for pattern in UNFINISHED for p in self.folder.rglob(pattern)]:
            left.unlink(missing_ok=True)

    def forget(self) -> None:
        """No longer say what the store is made from: it is never gone on with."""
        self.path(_MADE_FROM).unlink()

    def is_done(self, chunk: str) -> bool:
        """Whether the chunk's files are there and as they were written."""
        note = read_sealed(self.folder / FOLDER / f"{chunk}.json")
        return note is not None and all((self.folder / p).is_file() and sha256(self.folder / p) == digest for p, digest in note.items())

    def mark(self, chunk: str, files: Iterable[Path]) -> None:
        """Note that the files are whole."""
        write_sealed(self.folder / FOLDER / f"{chunk}.json", {p.relative_to(self.folder).as_posix(): sha256(p) for p in files})

    def path(self, name: str) -> Path:
        """Of a file that stands beside the notes."""
        return self.folder / FOLDER / name

    def undone(self, chunks: Sequence[T], name: Callable[[T], str], threads: int) -> list[T]:
        """Those of the chunks that are not done; files are read on some threads."""
        with ThreadPoolExecutor(threads) as pool:
            return [chunk for chunk, done in zip(chunks, pool.map(lambda c: self.is_done(name(c)), chunks), strict=True) if not done]

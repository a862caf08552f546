"""FER-2013 as arrays, what was published of it, and what a reader of its files must give."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax import files

CHALLENGE = "challenges-in-representation-learning-facial-expression-recognition-challenge"
PAGE = f"https://www.kaggle.com/c/{CHALLENGE}"
# Rows of the challenge's files, and the same by emotion, in the order of `labels.EMOTIONS`.
PUBLISHED = {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
PUBLISHED_CLASSES = {
    "Training": (3_995, 436, 4_097, 7_215, 4_830, 3_171, 4_965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
MAX_ROWS = 100_000  # of a table, blank ones too, or of an array; the real ones have 35,888


class DataWarning(UserWarning):
    """The data can be used but are not what was published; one line that names the file."""


class Split(NamedTuple):
    """images: uint8 [N, 48, 48]; labels: int32 [N] in 0..6, indices into `labels.EMOTIONS`."""

    images: np.ndarray
    labels: np.ndarray

    def at(self, rows: np.ndarray) -> "Split":
        """Return the rows that a mask or an index array chooses."""
        return Split(self.images[rows], self.labels[rows])


class Fer2013(NamedTuple):
    """The three published splits; `digest`: sha256 (hex) over their arrays, shapes included."""

    train: Split
    public_test: Split
    private_test: Split
    digest: str

    @property
    def splits(self) -> dict[str, Split]:
        """The splits under their published names, in the published order."""
        return dict(zip(PUBLISHED, self[:3], strict=True))

    @property
    def test(self) -> Split:
        """PublicTest then PrivateTest: 7,178 rows in the published data."""
        return join(self.public_test, self.private_test)


class Source(NamedTuple):
    """One layout in `directory`: all `files` that are read, and the function that reads them."""

    directory: Path
    files: tuple[Path, ...]
    read: Callable[[], Fer2013]

    def digest(self) -> str:
        """Return the sha256 (hex) over names, which may hold labels, and whole contents.

        Times and sizes alone would miss a file swapped for another.
        """
        state = hashlib.sha256()
        for path in self.files:
            name = path.relative_to(self.directory).as_posix()
            # There are 35,887 pictures, and `files.digest` clears a buffer of 256 kB for each.
            small = path.stat().st_size < 1 << 18
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if small else files.digest(path)
            state.update(f"{name} {digest}\n".encode())
        return state.hexdigest()


class Reader(NamedTuple):
    """How one layout is recognised and read."""

    find: Callable[[Path], Source | None]  # in a folder; None: it is not there or not complete
    marks: tuple[str, ...]  # glob patterns of its files
    looks_for: str  # the same, in words


def join(*parts: Split) -> Split:
    """Return the rows of all parts, one part after the other."""
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Split(images, labels)


def bundle(train: Split, public_test: Split, private_test: Split) -> Fer2013:
    """Return the three splits with the digest of their arrays."""
    state = hashlib.sha256()
    for split in (train, public_test, private_test):
        state.update(f"{split.images.shape} {split.labels.shape};".encode())
        state.update(np.ascontiguousarray(split.images, "u1").data)
        state.update(np.ascontiguousarray(split.labels, "<i4").data)
    return Fer2013(train, public_test, private_test, state.hexdigest())


def warn_if_short(data: Fer2013, name: str) -> None:
    """Issue one `DataWarning` with both counts of each split that lacks or exceeds its rows."""
    wrong = [
        f"{len(split.labels):,} {usage} rows (published: {PUBLISHED[usage]:,})"
        for usage, split in data.splits.items()
        if len(split.labels) != PUBLISHED[usage]
    ]
    if wrong:
        warnings.warn(f"{name}: {', '.join(wrong)}", DataWarning, stacklevel=2)

"""Bring together what a run trains on: FER-2013, more pictures, FER+'s votes; and its digest.

splits, digest = training_data(Path("data"), "train-only", votes=0.5)
splits.train.images.shape, str(digest)  # (25837, 48, 48), "6ab0...+91cf..."
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer_jax import files
from fer_jax.data import ferplus, folders
from fer_jax.data.fer2013 import DataWarning, Fer2013, bundle, join
from fer_jax.data.prepare import load
from fer_jax.data.protocols import FERPLUS, Protocol, protocol, seen_in_training
from fer_jax.errors import InputError


class Digest(NamedTuple):
    """sha256 (hex) of what a model was trained on, written as "FACES" or "FACES+VOTES"."""

    faces: str  # of the arrays, more pictures included
    votes: str = ""  # of FER+'s file, "" where none were used

    def __str__(self) -> str:
        return f"{self.faces}+{self.votes}" if self.votes else self.faces

    @classmethod
    def parse(cls, text: object) -> "Digest":
        """Read what a model file's metadata or a run.json hold; None and "" give Digest("")."""
        faces, _, votes = str(text or "").partition("+")
        return cls(faces, votes)


def training_data(
    folder: Path,
    name: str = "train-only",
    *,
    seed: int = 0,
    holdout: float = 0.1,
    votes: float = 0.0,
    extra: Sequence[Path] = (),
) -> tuple[Protocol, Digest]:
    """Load the data in `folder` and split them by a protocol.

    InputError: data or votes that are missing or malformed, or settings that do not fit them.

    Args:
        folder: holds FER-2013 and, where votes are used, FER+'s `fer2013new.csv`.
        name: of the protocol; `seed`, `holdout` and `votes` (its `share`) as `protocol` takes them.
        extra: folders of more training pictures, as `merge` takes them.
    """
    voted = votes > 0 or name in FERPLUS
    if voted and extra:
        needed = "protocol ferplus-* and config key votes need them"
        raise InputError(f"--extra brings pictures without FER+ votes: {needed}")
    faces = load(folder)
    for more in extra:
        faces = merge(faces, more)
    counts = ferplus.read(folder / ferplus.FILE, faces) if voted else None
    digest = Digest(faces.digest, files.digest(folder / ferplus.FILE) if voted else "")
    return protocol(faces, name, seed=seed, holdout=holdout, votes=counts, share=votes), digest


def merge(data: Fer2013, folder: Path) -> Fer2013:
    """Return `data` with the pictures of `folder` (see `folders.read`) after its Training rows.

    Pictures with exactly the pixels of a test row are left out, with one `DataWarning` that counts
    them: to train on them would be to train on what is reported. Copies of training rows stay: no
    hold-out parts them.
    """
    extra = folders.read(folder)
    tested = seen_in_training(extra, data.test)
    if tested.any():
        count = f"left out {tested.sum():,} of {len(tested):,} pictures"
        message = f"{folder}: {count}, whose pixels are those of test rows"
        warnings.warn(message, DataWarning, stacklevel=2)
    return bundle(join(data.train, extra.at(~tested)), data.public_test, data.private_test)

"""Which rows are trained on, which select the weights, which are reported; no row is both selected on and reported.

split = protocol(load(Path("data")), "train-only")
clean = ~seen_in_training(split.report, split.train)  # report rows whose pixels training never saw
"""

from typing import NamedTuple

import numpy as np

from fer_jax.data.sources import Fer2013, Split
from fer_jax.errors import InputError
from fer_jax.labels import NUM_CLASSES


class Protocol(NamedTuple):
    """Train on `train`, choose weights and settings on `select`, and report, once, on `report`."""

    name: str
    train: Split
    select: Split
    report: Split


def protocol(data: Fer2013, name: str = "train-only", *, seed: int = 0, holdout: float = 0.1) -> Protocol:
    """The rows of a protocol.

    train-only: train on Training less a hold-out, select on the hold-out, report all test rows.
    kaggle: train on all of Training, select on PublicTest, report PrivateTest, as most papers do.

    Args:
        seed: which hold-out is drawn; equal seeds draw equal ones. `kaggle` draws none.
        holdout: its share of Training, in (0, 0.5].

    Raises:
        InputError: unknown name, `holdout` out of range, or one of the three is left without rows.
    """
    if name == "train-only":
        if not 0 < holdout <= 0.5:
            raise InputError(f"holdout must be above 0 and at most 0.5, received {holdout}")
        held = _hold_out(data.train, seed, holdout)
        result = Protocol(name, _rows(data.train, ~held), _rows(data.train, held), data.test)
    elif name == "kaggle":
        result = Protocol(name, data.train, data.public_test, data.private_test)
    else:
        raise InputError(f"unknown protocol {name!r}: expected train-only or kaggle")
    for part in ("train", "select", "report"):
        if not len(getattr(result, part).labels):
            raise InputError(f"protocol {name}: the data leave no rows to {part}; Training has {len(data.train.labels)}")
    return result


def seen_in_training(split: Split, train: Split) -> np.ndarray:
    """bool [N]: exactly these pixels also occur in `train`, under whatever label."""
    known = {image.tobytes() for image in train.images}
    return np.array([image.tobytes() in known for image in split.images], bool)


def pixel_groups(images: np.ndarray) -> np.ndarray:
    """int [N]: equal numbers for identical pixels, counted from 0 by first occurrence."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images], int)


def _rows(split: Split, chosen: np.ndarray) -> Split:
    return Split(split.images[chosen], split.labels[chosen])


def _hold_out(train: Split, seed: int, share: float) -> np.ndarray:
    """bool [N]: grouped by identical pixels, so that no copy is on both sides, then stratified by class.

    Whole groups are taken in random order while every class of theirs has room, so that a class misses its share by
    less than one group and, since nearly all groups are single rows, in practice not at all.
    """
    groups = pixel_groups(train.images)
    counts = np.zeros((groups.max(initial=-1) + 1, NUM_CLASSES), int)  # copies may carry different labels
    np.add.at(counts, (groups, train.labels), 1)
    room = np.round(share * counts.sum(axis=0)).astype(int)
    taken = np.zeros(len(counts), bool)
    for group in np.random.default_rng(seed).permutation(len(counts)):
        if (counts[group] <= room).all():
            taken[group] = True
            room -= counts[group]
    return taken[groups]

"""Say which rows are trained on, which select the weights, and which are reported.

split = protocol(load(Path("data")), "train-only")
clean = ~seen_in_training(split.report, split.train)  # report rows whose pixels training never saw

No row is both selected on and reported.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_jax.data import ferplus
from fer_jax.data.fer2013 import Fer2013, Split
from fer_jax.data.ferplus import Votes
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS, NUM_CLASSES, names

FERPLUS = {"ferplus-majority": ferplus.majority, "ferplus-probability": ferplus.probabilistic}


class Protocol(NamedTuple):
    """Train on `train`, choose weights and settings on `select`, and report, once, on `report`.

    `targets`, float32 [N, C], are distributions over the classes for the rows of `train`, whose
    labels are the likeliest; `labels` is the name of what the classes are, a label set's.
    """

    name: str
    train: Split
    select: Split
    report: Split
    targets: np.ndarray
    labels: str = "fer2013"


def protocol(
    data: Fer2013,
    name: str = "train-only",
    *,
    seed: int = 0,
    holdout: float = 0.1,
    votes: Votes | None = None,
    share: float = 0.0,
) -> Protocol:
    """Return the rows of a protocol.

    train-only: train on Training less a hold-out, select on the hold-out, report all test rows.
    kaggle: train on all of Training, select on PublicTest, report PrivateTest, as most papers do.
    ferplus-majority, ferplus-probability: kaggle's rows with FER+'s votes for labels, less those
    that the rules of `ferplus.majority` (always, to select and to report) or
    `ferplus.probabilistic` (to train) leave out.

    InputError: unknown name, `holdout` out of range, or one of the three is left without rows.

    Args:
        seed: draws the hold-out; equal seeds draw equal ones.
        holdout: its share of Training, in (0, 0.5].
        votes: for ferplus-*, and where `share` is above 0, those of the rows of `data`.
        share: of the targets of train-only and kaggle, in [0, 1]: what `ferplus.expected_labels`
            makes of the votes on the rows that are trained on; the rest is the label. Nothing else
            changes.
    """
    if name == "train-only":
        if not 0 < holdout <= 0.5:
            raise InputError(f"holdout must be above 0 and at most 0.5, received {holdout}")
        held = _hold_out(data.train, seed, holdout)
        train = data.train.at(~held)
        targets = _targets(train, votes, ~held, share)
        result = Protocol(name, train, data.train.at(held), data.test, targets)
    elif name == "kaggle":
        targets = _targets(data.train, votes, np.arange(len(data.train.labels)), share)
        result = Protocol(name, data.train, data.public_test, data.private_test, targets)
    elif name in FERPLUS and votes is not None:
        train, targets = _voted(data.train, FERPLUS[name](votes.training))
        select, _ = _voted(data.public_test, ferplus.majority(votes.public_test))
        report, _ = _voted(data.private_test, ferplus.majority(votes.private_test))
        result = Protocol(name, train, select, report, targets, labels="ferplus")
    else:
        known = f"train-only, kaggle or, with FER+'s votes, {' or '.join(FERPLUS)}"
        raise InputError(f"unknown protocol {name!r}: expected {known}")
    for part in ("train", "select", "report"):
        if not len(getattr(result, part).labels):
            rule = f"the data leave no rows to {part}; Training has {len(data.train.labels)}"
            raise InputError(f"protocol {name}: {rule}")
    return result


def reported_by(
    metadata: dict[str, Any], label_set: str, data: Fer2013, folder: Path
) -> tuple[Split, dict[str, np.ndarray]]:
    """Return the rows that a model is reported on, and named subsets of them, bool [N].

    All of them come first. Subsets leave out the rows whose pixels also occur in Training, and for
    train-only tell the test set's halves apart. `metadata` are the model file's, which name its
    protocol, `label_set` that of its outputs; `folder` holds FER+'s votes, where they are needed.
    InputError: labels that do not begin with the seven emotions, an unknown protocol, or votes that
    are missing or do not fit.
    """
    if names(label_set)[:NUM_CLASSES] != EMOTIONS:
        rule = "a model reported on FER-2013 must know its emotions"
        raise InputError(f"{rule}, received one with the labels of {label_set}")
    name = str(metadata.get("protocol", "train-only"))
    votes = ferplus.read(folder / ferplus.FILE, data) if name in FERPLUS else None
    split = data.test if name == "train-only" else protocol(data, name, votes=votes).report
    unseen = ~seen_in_training(split, data.train)
    everything = np.ones(len(split.labels), bool)
    if name != "train-only":
        clean = "PrivateTest without rows whose pixels occur in training"
        return split, {"PrivateTest": everything, clean: unseen}
    public = np.arange(len(split.labels)) < len(data.public_test.labels)
    return split, {
        "all": everything,
        "PublicTest": public,
        "PrivateTest": ~public,
        "all without rows whose pixels occur in training": unseen,
        "PublicTest without them": unseen & public,
        "PrivateTest without them": unseen & ~public,
    }


def sample(split: Split, n: int, option: str = "--n") -> np.ndarray:
    """Return `n` random rows, int, increasing: the same at every call, so that benches compare.

    InputError: the split has fewer rows; `option` is what the user gave `n` with.
    """
    total = len(split.labels)
    if not 1 <= n <= total:
        rule = f"must be in 1..{total}, the rows that the model reports on"
        raise InputError(f"{option} {rule}, received {n}")
    return np.sort(np.random.default_rng(0).choice(total, n, replace=False))


def seen_in_training(split: Split, train: Split) -> np.ndarray:
    """Return whether these very pixels also occur in `train`, under any label, bool [N]."""
    known = {image.tobytes() for image in train.images}
    return np.array([image.tobytes() in known for image in split.images], bool)


def pixel_groups(images: np.ndarray) -> np.ndarray:
    """Return equal numbers for identical pixels, int [N], from 0 by first occurrence."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images], int)


def _targets(train: Split, votes: Votes | None, rows: np.ndarray, share: float) -> np.ndarray:
    """One-hot labels, of which the votes on these `rows` of Training replace a `share`."""
    labels = np.eye(NUM_CLASSES, dtype=np.float32)[train.labels]
    if votes is None or not share or not len(labels):
        return labels
    expected = ferplus.expected_labels(votes.training[rows], train.labels)
    return np.float32(1 - share) * labels + np.float32(share) * expected


def _voted(split: Split, voted: ferplus.Targets) -> tuple[Split, np.ndarray]:
    """The rows that the votes keep, labelled with their likeliest class, and their targets."""
    targets = voted.targets[voted.keep]
    return Split(split.images[voted.keep], targets.argmax(axis=1).astype(np.int32)), targets


def _hold_out(train: Split, seed: int, share: float) -> np.ndarray:
    """bool [N]: a share of each class, with all copies of an image on one side.

    Groups of copies are taken in random order while every class of theirs has room: a class misses
    its share by less than one group, and nearly all groups are single rows.
    """
    groups = pixel_groups(train.images)
    # Copies may carry different labels.
    counts = np.zeros((groups.max(initial=-1) + 1, NUM_CLASSES), int)
    np.add.at(counts, (groups, train.labels), 1)
    room = np.round(share * counts.sum(axis=0)).astype(int)
    taken = np.zeros(len(counts), bool)
    for group in np.random.default_rng(seed).permutation(len(counts)):
        if (counts[group] <= room).all():
            taken[group] = True
            room -= counts[group]
    return taken[groups]

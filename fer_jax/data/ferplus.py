"""FER+: what ten annotators saw in each FER-2013 image, as votes and as training targets.

    votes = read(Path("data/fer2013new.csv"), load(Path("data")))
    targets, keep = majority(votes.training)  # float32 [28709, 8], bool [28709]

E. Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI 2016 (https://arxiv.org/abs/1608.01041). Details that the paper leaves out
are those of its released code, `FERPlusReader._process_data` of src/ferplus.py in
github.com/microsoft/FERPlus (MIT), revision 888f98d: the last revision drops `fear` and `contempt`
too (`idx < emotion_count - 2`), which leaves six classes of the paper's eight.

Votes are uint8 [N, 10]: how many annotators chose what (`COLUMNS`). Targets are float32 [N, 8],
distributions over `labels.FERPLUS_EMOTIONS`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from fer_jax.data import tables
from fer_jax.data.fer2013 import PUBLISHED, Fer2013
from fer_jax.errors import InputError
from fer_jax.labels import FERPLUS_EMOTIONS, NUM_CLASSES

FILE = "fer2013new.csv"
PAGE = "https://github.com/microsoft/FERPlus"
COLUMNS = (*FERPLUS_EMOTIONS, "unknown", "not a face")  # the order of a votes array's last axis

_CLASSES = len(FERPLUS_EMOTIONS)
# What the file calls `COLUMNS`.
_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")
_NAMES += ("unknown", "NF")
_ANNOTATORS = 10
_RIDGE = 1e-5  # of the regression: a class without rows would have weights without bound


class Votes(NamedTuple):
    training: np.ndarray
    public_test: np.ndarray
    private_test: np.ndarray


class Targets(NamedTuple):
    """Distributions, zeros in rows to leave out; `keep`, bool [N], is False for those."""

    targets: np.ndarray
    keep: np.ndarray


def read(path: Path, data: Fer2013) -> Votes:
    """Read the votes of `fer2013new.csv` (columns in any order) for the rows of `data`.

    Rows belong together by their place within their split; image names, which are numbered
    otherwise, are not used.
    InputError: a missing or malformed file, other numbers of rows than in `data`, or votes that
    agree so little with its labels that its rows cannot be in the original order.
    """
    if not path.is_file():
        raise InputError(f"{path}: FER+'s votes are not there: download {FILE} from {PAGE}")
    rows: dict[str, list[list[int]]] = {usage: [] for usage in PUBLISHED}
    with path.open("rb") as stream:
        for where, cells in tables.rows(str(path), stream, ("Usage", *_NAMES)):
            usage = tables.parse_usage(where, cells["Usage"])
            counts = [
                tables.parse_integer(where, name, cells[name], _ANNOTATORS) for name in _NAMES
            ]
            if sum(counts) > _ANNOTATORS:
                rule = f"a row must have at most {_ANNOTATORS} votes"
                raise InputError(f"{where}: {rule}, received {sum(counts)}")
            rows[usage].append(counts)
    for usage, split in data.splits.items():
        if len(rows[usage]) != len(split.labels):
            rule = f"must have {len(split.labels)} {usage} rows, one for each image of the data"
            raise InputError(f"{path}: {rule}, received {len(rows[usage])}")
    arrays = (np.array(counts, np.uint8).reshape(-1, len(COLUMNS)) for counts in rows.values())
    votes = Votes(*arrays)
    _check_order(path, votes, data)
    return votes


def majority(votes: np.ndarray) -> Targets:
    """Return one-hot targets: the choice of more than half of the annotators.

    1. A choice with a single vote is an outlier: it counts as having none.
    2. The choice with most votes wins if it has more than half of the votes that are left.
    3. A row without a winner, or won by `unknown` or `not a face`, is left out.

    The released code judges validation and test rows by it, whatever is trained on.
    """
    votes = _without_outliers(votes)
    winner = votes.argmax(axis=1)
    keep = (2 * votes.max(axis=1) > votes.sum(axis=1)) & (winner < _CLASSES)
    targets = np.zeros((len(votes), _CLASSES), np.float32)
    targets[keep, winner[keep]] = 1
    return Targets(targets, keep)


def probabilistic(votes: np.ndarray) -> Targets:
    """Return distributions over the most voted emotions, for a cross-entropy.

    1. A choice with a single vote is an outlier: it counts as having none.
    2. Choices are taken by falling number of votes, those with equally many together, until they
       hold three quarters of the votes that are left, or are three; `unknown` and `not a face` are
       never taken, they end the taking (emotions with as many votes still are).
    3. A row is left out if what was taken holds at most half of the votes, or is more than three
       emotions.
    4. The votes taken are divided by their sum.
    """
    left = _without_outliers(votes)
    total = left.sum(axis=1)
    taken = np.zeros((len(left), _CLASSES), int)
    ended = np.zeros(len(left), bool)
    for _ in range(3):  # each round takes at least one of at most three
        open_rows = ~ended & (4 * taken.sum(axis=1) < 3 * total) & ((taken > 0).sum(axis=1) < 3)
        most = left.max(axis=1, keepdims=True)
        chosen = open_rows[:, None] & (left == most) & (most > 0)
        taken += np.where(chosen, left, 0)[:, :_CLASSES]
        left[chosen] = 0
        ended |= chosen[:, _CLASSES:].any(axis=1)
    held = taken.sum(axis=1)
    keep = (2 * held > total) & ((taken > 0).sum(axis=1) <= 3)
    targets = np.where(keep[:, None], taken / np.maximum(held, 1)[:, None], 0)
    return Targets(targets.astype(np.float32), keep)


def expected_labels(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return P(label | votes), float32 [N, 7]: FER-2013's `labels` on average where ten voted so.

    Less noise than the one label that an image happens to have, and right to train on as long as
    the votes tell what the label depends on. By softmax regression on the counts, fitted to these
    very rows, at least one (77 numbers): exact if votes were drawn independently given the label,
    since each adds its log likelihood.
    """
    # The last column, the same in all rows, is for what needs no vote.
    counts = np.column_stack([votes, np.full(len(votes), _ANNOTATORS)]) / _ANNOTATORS
    known = np.eye(NUM_CLASSES)[labels]

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(-1, NUM_CLASSES)
        logits = counts @ weights
        loss = -(known * log_softmax(logits, axis=1)).sum() / len(known)
        gradient = counts.T @ (softmax(logits, axis=1) - known) / len(known)
        ridge = _RIDGE / 2 * np.square(weights).sum()
        return loss + ridge, (gradient + _RIDGE * weights).ravel()

    start = np.zeros(counts.shape[1] * NUM_CLASSES)
    settings = {"jac": True, "method": "L-BFGS-B", "options": {"maxiter": 500}}
    weights = minimize(cost, start, **settings).x.reshape(-1, NUM_CLASSES)
    return softmax(counts @ weights, axis=1).astype(np.float32)


def _without_outliers(votes: np.ndarray) -> np.ndarray:
    return np.where(votes > 1, votes, 0).astype(int)


def _check_order(path: Path, votes: Votes, data: Fer2013) -> None:
    """Refuse votes for rows in another order: in the right one 7 of 10 labels agree, else 2."""
    for usage, split, counts in zip(PUBLISHED, data.splits.values(), votes, strict=True):
        targets, keep = majority(counts)
        keep &= targets.argmax(axis=1) < NUM_CLASSES
        if keep.sum() < 100:  # too few to tell from chance
            continue
        share = np.mean(targets.argmax(axis=1)[keep] == split.labels[keep])
        if share < 0.5:
            rule = "the votes must be those of the data's rows, but agree with"
            hint = "data read from image folders need file names that hold the row numbers"
            labels = f"{share:.0%} of the {usage} labels (a right order gives about 70 %)"
            raise InputError(f"{path}: {rule} {labels}; {hint}")

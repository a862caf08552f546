"""FER+: what ten annotators saw in each FER-2013 image, as votes and as training targets.

    data = load(Path("data"))
    votes = read(Path("data/fer2013new.csv"), data)
    targets, keep = majority(votes.training)  # float32 [28709, 8], bool [28709]
    images = data.train.images[keep]
    expected = expected_labels(votes.training, data.train.labels)  # of FER-2013's own classes,
    float32 [28709, 7]

E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang, "Training Deep Networks for Facial Expression
Recognition with Crowd-Sourced Label Distribution", ICMI 2016 (arXiv:1608.01041). The paper leaves
out details of the rules; they are those of its released code, `FERPlusReader._process_data` of
src/ferplus.py in github.com/microsoft/FERPlus (MIT). Which rows stay is that of its revision
888f98d: the last revision drops `fear` and `contempt` too (`idx < emotion_count - 2`), which leaves
six classes of the paper's eight.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from fer_jax.data.sources import PUBLISHED, Fer2013, short
from fer_jax.errors import InputError
from fer_jax.labels import FERPLUS_EMOTIONS, NUM_CLASSES

FILE = "fer2013new.csv"
PAGE = "https://github.com/microsoft/FERPlus"
COLUMNS = (*FERPLUS_EMOTIONS, "unknown", "not a face")  # the order of a votes array's last axis

_CLASSES = len(FERPLUS_EMOTIONS)
_NAMES = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
    "contempt",
    "unknown",
    "NF",
)
_HEADER = {"Usage", "Image name", *_NAMES}
_ANNOTATORS = 10
_RIDGE = 1e-5  # of the regression: a class without rows would have weights without bound
_MAX_FILE = 1 << 25  # bytes; the real file has 1.6 MB


class Votes(NamedTuple):
    """Each uint8 [N, 10]: how many of ten annotators chose what (`COLUMNS`), row by row as in
    `Fer2013`'s splits.
    """

    training: np.ndarray
    public_test: np.ndarray
    private_test: np.ndarray


class Targets(NamedTuple):
    """targets: float32 [N, 8], a distribution over `FERPLUS_EMOTIONS`, zeros in rows to leave out;
    keep: bool [N].
    """

    targets: np.ndarray
    keep: np.ndarray


def read(path: Path, data: Fer2013) -> Votes:
    """The votes of `fer2013new.csv` (columns in any order), for the rows of `data`.

    Rows belong together by their place within their split; the file's image names, which count
    otherwise, are not used.

    Raises:
        InputError: a malformed file, another number of rows than `data` has in a split, or votes
            that agree so little with the labels of `data` that its rows cannot be in the original
            order.
    """
    path = Path(path)
    rows: dict[str, list[list[int]]] = {usage: [] for usage in PUBLISHED}
    table = _table(path)
    header = [column.strip() for column in next(table, [])]
    _check_header(path, header)
    for row, fields in enumerate(table, start=1):
        usage, counts = _parse_row(f"{path}:{row}", header, fields)
        rows[usage].append(counts)
    for usage, split in data.splits.items():
        if (received := len(rows[usage])) != (n := len(split.labels)):
            raise InputError(
                f"{path}: must have {n} {usage} rows, one for each image of the data, received {received}"
            )
    votes = Votes(
        *(np.array(counts, np.uint8).reshape(-1, len(COLUMNS)) for counts in rows.values())
    )
    _check_order(path, votes, data)
    return votes


def majority(votes: np.ndarray) -> Targets:
    """One-hot targets: the choice of more than half of the annotators.

    1. A choice with a single vote is an outlier: it counts as having none.
    2. The choice with most votes wins if it has more than half of the votes that are left.
    3. A row without a winner, or won by `unknown` or `not a face`, is left out.

    The released code judges validation and test rows by this rule, whatever the training targets
    are.

    Args:
        votes: uint8 [N, 10].
    """
    votes = _without_outliers(votes)
    winner = votes.argmax(axis=1)
    keep = (2 * votes.max(axis=1) > votes.sum(axis=1)) & (winner < _CLASSES)
    targets = np.zeros((len(votes), _CLASSES), np.float32)
    targets[keep, winner[keep]] = 1
    return Targets(targets, keep)


def probabilistic(votes: np.ndarray) -> Targets:
    """Distributions over the most voted emotions: targets of a cross-entropy, or to draw one label
    from at each step.

    1. A choice with a single vote is an outlier: it counts as having none.
    2. Choices are taken by falling number of votes, those with equally many together, until they
    hold three quarters of
       the votes that are left, or are three; `unknown` and `not a face` are never taken, they end
       the taking (emotions with as many votes still are).
    3. A row is left out if what was taken holds at most half of the votes, or is more than three
    emotions. 4. The votes taken are divided by their sum.

    Args:
        votes: uint8 [N, 10].
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
    """P(label | votes), float32 [N, 7]: which of FER-2013's labels images get on which ten
    annotators voted so.

    The mean of the labels in place of the one that an image happens to have: less noise, and to
    train on it is not wrong as long as the votes tell what the label depends on. By softmax
    regression on the counts, fitted to these very rows (77 numbers): were votes drawn independently
    given the label, it would be exact, since each adds its log likelihood.

    Args:
        votes: uint8 [N, 10], of at least one row.
        labels: int [N], of FER-2013.
    """
    # the last for what needs no vote
    counts = np.column_stack([votes, np.full(len(votes), _ANNOTATORS)]) / _ANNOTATORS
    known = np.eye(NUM_CLASSES)[labels]

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(-1, NUM_CLASSES)
        logits = counts @ weights
        gradient = counts.T @ (softmax(logits, axis=1) - known) / len(known) + _RIDGE * weights
        loss = (
            -(known * log_softmax(logits, axis=1)).sum() / len(known)
            + _RIDGE / 2 * np.square(weights).sum()
        )
        return loss, gradient.ravel()

    start = np.zeros(counts.shape[1] * NUM_CLASSES)
    weights = minimize(
        cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}
    ).x.reshape(-1, NUM_CLASSES)
    return softmax(counts @ weights, axis=1).astype(np.float32)


def _without_outliers(votes: np.ndarray) -> np.ndarray:
    return np.where(votes > 1, votes, 0).astype(int)


def _table(path: Path) -> Iterator[list[str]]:
    """The fields of each line that is not blank."""
    if not path.is_file():
        raise InputError(f"{path}: FER+'s votes are not there: download {FILE} from {PAGE}")
    with path.open("rb") as stream:
        content = stream.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise InputError(
            f"{path}: must have at most {_MAX_FILE} bytes, has more; this is no {FILE}"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start}: must be UTF-8 text: {error.reason}"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: must be a CSV row: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    for column in header:
        if column not in _HEADER:
            raise InputError(
                f"{path}: the header must hold FER+'s columns only, received {short(column)}"
            )
    for column in ("Usage", *_NAMES, *header):
        if header.count(column) != 1:
            raise InputError(
                f"{path}: the header must name the column {column!r} once, received {header.count(column)}"
            )


def _parse_row(where: str, header: list[str], fields: list[str]) -> tuple[str, list[int]]:
    """The split's name and the ten counts in the order of `COLUMNS`."""
    if len(fields) != len(header):
        raise InputError(f"{where}: a row must have {len(header)} columns, received {len(fields)}")
    cells = dict(zip(header, fields, strict=True))
    usage = cells["Usage"].strip()
    if usage not in PUBLISHED:
        raise InputError(
            f"{where}: Usage must be one of {', '.join(PUBLISHED)}, received {short(usage)}"
        )
    counts = [_parse_count(where, name, cells[name].strip()) for name in _NAMES]
    if sum(counts) > _ANNOTATORS:
        raise InputError(
            f"{where}: a row must have at most {_ANNOTATORS} votes, received {sum(counts)}"
        )
    return usage, counts


def _parse_count(where: str, name: str, cell: str) -> int:
    if len(cell) <= 2 and cell.isascii() and cell.isdigit() and int(cell) <= _ANNOTATORS:
        return int(cell)
    raise InputError(
        f"{where}: {name} must be an integer from 0 to {_ANNOTATORS}, received {short(cell)}"
    )


def _check_order(path: Path, votes: Votes, data: Fer2013) -> None:
    """Refuse votes for rows in another order: annotators and original labels agree in 7 of 10 rows,
    by chance in 2.
    """
    for usage, split, counts in zip(PUBLISHED, data.splits.values(), votes, strict=True):
        targets, keep = majority(counts)
        keep &= targets.argmax(axis=1) < NUM_CLASSES
        if keep.sum() < 100:  # too few to tell from chance
            continue
        share = np.mean(targets.argmax(axis=1)[keep] == split.labels[keep])
        if share < 0.5:
            raise InputError(
                f"{path}: the votes must be those of the data's rows, but agree with {share:.0%} of the {usage} labels "
                "(a right order gives about 70 %); data read from image folders need file names that hold the row numbers"
            )

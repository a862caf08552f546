"""What is wrong with the data: blank and blurred images, copies, labels that contradict each other,
what is not a face.

    for finding in inspect(load(Path("data"))):
        print(finding.name, len(finding.rows), finding.rule)

Nothing is repaired or left out: a finding names rows, and training goes on using them. A row may be
in several findings.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_jax.data.ferplus import Votes
from fer_jax.data.protocols import pixel_groups
from fer_jax.data.sources import Fer2013
from fer_jax.labels import EMOTIONS

# Chosen by eye on FER-2013: under 10 grey levels a face is hardly seen (the next darkest ones, at
# 12, are), under 0.1 all are visibly soft, from 0.15 on few are.
NEAR_CONSTANT = 10.0
BLURRED = 0.1

_CHUNK = 2048  # images; all of them at once as floats would take a gigabyte


class Finding(NamedTuple):
    """Rows that share a defect, worst first, or copies of one image side by side.

    rows: int [M], counted from 0 over Training, then PublicTest, then PrivateTest; measure: what
    `values` [M] are.
    """

    name: str
    rule: str
    rows: np.ndarray
    measure: str
    values: np.ndarray


def inspect(data: Fer2013, votes: Votes | None = None) -> list[Finding]:
    """All findings, those without rows included; `votes` (FER+'s) add the rows that are not a face."""
    images = np.concatenate([split.images for split in data.splits.values()])
    findings = _readability(images) + _copies(pixel_groups(images), _labels(data), _places(data))
    if votes is not None:
        not_a_face = np.concatenate(votes)[:, -1].astype(int)
        rule = "more than half of FER+'s ten annotators chose NF (not a face)"
        findings.append(
            _finding("not_a_face", rule, not_a_face > 5, "votes", not_a_face, worst=-not_a_face)
        )
    return findings


def counts(data: Fer2013, findings: list[Finding]) -> pd.DataFrame:
    """Rows of each finding by split; of copies also the groups, and the surplus rows: all but one
    of each group.
    """
    places = _places(data)
    records = []
    for finding in findings:
        by_split = np.bincount(places[finding.rows], minlength=len(data.splits))
        record = dict(zip(data.splits, by_split.tolist(), strict=True)) | {"all": len(finding.rows)}
        if finding.name.startswith("copies"):
            groups = len(np.unique(finding.values))
            record |= {"groups": groups, "surplus": len(finding.rows) - groups}
        records.append(record)
    columns = [*data.splits, "all", "groups", "surplus"]
    return (
        pd.DataFrame(records, [finding.name for finding in findings], columns)
        .astype("Int64")
        .astype(object)
    )


def table(data: Fer2013, findings: list[Finding]) -> pd.DataFrame:
    """One line for each finding and row of it: finding, split, row, file_row, emotion, measure,
    value.

    `row` counts from 1 within its split, as in train.csv; `file_row` counts from 1 after the header
    of fer2013.csv and icml_face_data.csv, where the splits follow each other.
    """
    labels, places = _labels(data), _places(data)
    starts = np.searchsorted(places, np.arange(len(data.splits)))
    parts = []
    for finding in findings:
        rows = finding.rows
        columns = {
            "finding": finding.name,
            "split": np.array(list(data.splits))[places[rows]],
            "row": rows - starts[places[rows]] + 1,
            "file_row": rows + 1,
            "emotion": np.array(EMOTIONS)[labels[rows]],
            "measure": finding.measure,
            "value": finding.values.astype(float),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def contrast(images: np.ndarray) -> np.ndarray:
    """float [N]: the standard deviation of each image's pixels (uint8 [N, 48, 48]), in grey levels."""
    return _by_chunks(lambda chunk: chunk.std(axis=(1, 2), dtype=np.float32), images)


def sharpness(images: np.ndarray) -> np.ndarray:
    """float [N]: the variance of the Laplacian, divided by the variance of the pixels; inf where
    all pixels are equal.

    The variance of the Laplacian is the usual measure of focus (J. L. Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", ICPR 2000). It grows with contrast, too: alone, it
    finds the dark faces. Divided, it is the mean squared gain of the Laplacian over the image's own
    frequencies, and does not depend on brightness or contrast.
    """
    return _by_chunks(_sharpness, images)


def _sharpness(images: np.ndarray) -> np.ndarray:
    grey = images.astype(np.float32)
    centre = grey[:, 1:-1, 1:-1]
    neighbours = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    edges, spread = (neighbours - 4 * centre).var(axis=(1, 2)), grey.var(axis=(1, 2))
    return np.divide(edges, spread, out=np.full(len(images), np.inf, np.float32), where=spread > 0)


def _by_chunks(measure: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    starts = range(0, max(len(images), 1), _CHUNK)
    return np.concatenate([measure(images[start : start + _CHUNK]) for start in starts])


def _places(data: Fer2013) -> np.ndarray:
    """int [N]: which split each row is in."""
    return np.repeat(
        np.arange(len(data.splits)), [len(split.labels) for split in data.splits.values()]
    )


def _labels(data: Fer2013) -> np.ndarray:
    return np.concatenate([split.labels for split in data.splits.values()])


def _readability(images: np.ndarray) -> list[Finding]:
    spread, focus = contrast(images), sharpness(images)
    flat = np.ptp(images, axis=(1, 2)) == 0
    near = ~flat & (spread < NEAR_CONSTANT)
    blurred = ~flat & ~near & (focus < BLURRED)
    rule = f"variance of the Laplacian below {BLURRED:g} times the variance of the pixels, and in none of the above"
    return [
        _finding("blank", "all pixels equal", flat, "grey level", images[:, 0, 0]),
        _finding(
            "near_constant",
            f"standard deviation of the pixels below {NEAR_CONSTANT:g}",
            near,
            "std",
            spread,
        ),
        _finding("blurred", rule, blurred, "sharpness", focus),
    ]


def _copies(groups: np.ndarray, labels: np.ndarray, places: np.ndarray) -> list[Finding]:
    """Findings about rows with identical pixels; a group goes by the `file_row` of its first row."""
    groups = np.unique(groups, return_index=True)[1][groups] + 1
    many = (np.bincount(groups) > 1)[groups]
    across, conflicting = _differs(groups, places), _differs(groups, labels)
    leaked = (places > 0) & np.isin(groups, groups[places == 0])
    masks = {
        "copies": ("the pixels occur in more than one row", many),
        "copies_across_splits": ("copies that lie in more than one split", across),
        "copies_with_conflicting_labels": (
            "copies that do not all have the same label",
            conflicting,
        ),
        "test_rows_in_training": ("test rows whose pixels also occur in Training", leaked),
    }
    return [_finding(name, rule, mask, "group", groups) for name, (rule, mask) in masks.items()]


def _differs(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """bool [N]: the row's group holds more than one value."""
    pairs = np.unique(np.stack([groups, values]), axis=1)
    return (np.bincount(pairs[0]) > 1)[groups]


def _finding(
    name: str, rule: str, mask: np.ndarray, measure: str, values: np.ndarray, worst=None
) -> Finding:
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort((values if worst is None else worst)[rows], kind="stable")]
    return Finding(name, rule, rows, measure, values[rows])

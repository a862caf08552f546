"""Find what is wrong with the data: blank or blurred images, copies, opposed labels, no face.

    for finding in inspect(load(Path("data"))):
        print(finding.name, len(finding.rows), finding.rule)

Nothing is repaired or left out: training goes on using the rows. Images are uint8 [N, 48, 48].
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_jax import files
from fer_jax.data import ferplus
from fer_jax.data.fer2013 import Fer2013, join
from fer_jax.data.ferplus import Votes
from fer_jax.data.prepare import load
from fer_jax.data.protocols import pixel_groups, seen_in_training
from fer_jax.labels import EMOTIONS, NUM_CLASSES

# Chosen by eye on FER-2013: under 10 grey levels a face is hardly seen (the next darkest ones, at
# 12, are), under 0.1 all are visibly soft, from 0.15 on few are.
NEAR_CONSTANT = 10.0
BLURRED = 0.1
EXAMPLES = 60  # that are drawn of each finding

_CHUNK = 2048  # images; all of them at once as floats would take a gigabyte


class Finding(NamedTuple):
    """Rows that share a defect, worst first, or copies of one image side by side."""

    name: str
    rule: str
    rows: np.ndarray  # int [M], counted from 0 over Training, then PublicTest, then PrivateTest
    measure: str  # what the values are
    values: np.ndarray  # [M]


def main(folder: Path, out: Path, draw: Callable[[Path, np.ndarray, list[str], str], None]) -> None:
    """Print counts, and write inspection.csv, inspection.json and pictures of examples to `out`.

    There files of an earlier run are replaced, and pictures that show nothing now deleted. `draw`
    writes one: its path, images, their titles, a title.
    """
    data = load(folder)
    path = folder / ferplus.FILE
    votes = ferplus.read(path, data) if path.is_file() else None
    findings = inspect(data, votes)
    classes = class_counts(data)
    numbers = counts(data, findings)
    rules = {finding.name: finding.rule for finding in findings}
    print(f"{classes.to_string()}\n\n{numbers.fillna('').to_string()}\n")
    print("\n".join(f"{name}: {rule}" for name, rule in rules.items()))
    if votes is None:
        print(f"not_a_face: not looked for: {path} is not there, download it from {ferplus.PAGE}")
    by_class = classes[list(EMOTIONS)].T.to_dict()
    report = {"digest": data.digest, "classes": by_class, "rules": rules}
    report["findings"] = {name: row.dropna().to_dict() for name, row in numbers.iterrows()}
    pictures = [out / f"{finding.name}.png" for finding in findings]
    with files.appearing_in(out, [each for each in pictures if each.exists()]) as made:
        form = {"index": False, "float_format": "%.6g", "lineterminator": "\n"}
        table(data, findings).to_csv(made / "inspection.csv", **form)
        files.write_json(made / "inspection.json", report)
        images = join(*data[:3]).images
        for finding in findings:
            examples = table(data, [finding]).head(EXAMPLES)
            titles = [
                f"{cells['split']} {cells['row']}\n"
                f"{cells['emotion']}, {cells['measure']} {round(cells['value'], 3):g}"
                for cells in examples.to_dict("records")
            ]
            if titles:
                count = f"{len(titles)} of {len(finding.rows):,} rows"
                title = f"{finding.name}, {count}: {finding.rule}"
                shown = images[examples.file_row - 1]
                draw(made / f"{finding.name}.png", shown, titles, title)
    print(f"\nwrote {out}: inspection.csv, inspection.json and pictures")


def describe(data: Fer2013) -> None:
    """Print rows by split and emotion, how many are copies, and the digest."""
    print(class_counts(data).map("{:,}".format).to_string())
    groups = pixel_groups(join(*data[:3]).images)
    seen = int(seen_in_training(data.test, data.train).sum())
    print(f"surplus copies of an image: {len(groups) - groups.max(initial=-1) - 1:,}")
    print(f"test rows whose pixels also occur in Training: {seen:,} of {len(data.test.labels):,}")
    print(f"digest: {data.digest}")


def class_counts(data: Fer2013) -> pd.DataFrame:
    """Return the rows of each split by emotion, and all of them."""
    splits = data.splits.values()
    rows = [np.bincount(split.labels, minlength=NUM_CLASSES) for split in splits]
    classes = pd.DataFrame(rows, list(data.splits), list(EMOTIONS))
    return classes.assign(all=classes.sum(axis=1))


def inspect(data: Fer2013, votes: Votes | None = None) -> list[Finding]:
    """Return all findings, those without rows included; FER+'s `votes` tell what is not a face."""
    images, labels = join(*data[:3])
    findings = _readability(images) + _copies(pixel_groups(images), labels, _places(data))
    if votes is not None:
        against = np.concatenate(votes)[:, -1].astype(int)
        rule = "more than half of FER+'s ten annotators chose NF (not a face)"
        finding = _finding("not_a_face", rule, against > 5, "votes", -against)
        findings.append(finding._replace(values=-finding.values))
    return findings


def counts(data: Fer2013, findings: list[Finding]) -> pd.DataFrame:
    """Return the rows of each finding by split.

    Of copies also the groups, and the surplus rows: all but one of each group.
    """
    places = _places(data)
    rows = [np.bincount(places[finding.rows], minlength=3) for finding in findings]
    numbers = pd.DataFrame(rows, [finding.name for finding in findings], list(data.splits))
    numbers["all"] = numbers.sum(axis=1)
    numbers["groups"] = [
        len(np.unique(finding.values)) if finding.name.startswith("copies") else pd.NA
        for finding in findings
    ]
    numbers["surplus"] = numbers["all"] - numbers["groups"]
    return numbers.astype("Int64").astype(object)


def table(data: Fer2013, findings: list[Finding]) -> pd.DataFrame:
    """Return a line for each row of each finding.

    Columns: finding, split, row, file_row, emotion, measure, value. `row` counts from 1 within its
    split, as in train.csv; `file_row` counts from 1 after the header of fer2013.csv and
    icml_face_data.csv, where the splits follow each other.
    """
    labels, places = join(*data[:3]).labels, _places(data)
    starts = np.searchsorted(places, np.arange(len(data.splits)))
    sizes = [len(finding.rows) for finding in findings]
    rows = np.concatenate([finding.rows for finding in findings])
    columns = {
        "finding": np.repeat([finding.name for finding in findings], sizes),
        "split": np.array(list(data.splits))[places[rows]],
        "row": rows - starts[places[rows]] + 1,
        "file_row": rows + 1,
        "emotion": np.array(EMOTIONS)[labels[rows]],
        "measure": np.repeat([finding.measure for finding in findings], sizes),
        "value": np.concatenate([finding.values.astype(float) for finding in findings]),
    }
    return pd.DataFrame(columns)


def _by_chunks(measure: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    @functools.wraps(measure)
    def measured(images: np.ndarray) -> np.ndarray:
        starts = range(0, max(len(images), 1), _CHUNK)
        return np.concatenate([measure(images[start : start + _CHUNK]) for start in starts])

    return measured


@_by_chunks
def contrast(images: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each image's pixels, float32 [N], in grey levels."""
    return images.std(axis=(1, 2), dtype=np.float32)


@_by_chunks
def sharpness(images: np.ndarray) -> np.ndarray:
    """Return the variance of the Laplacian over that of the pixels; inf where all are equal.

    The variance of the Laplacian is the usual measure of focus (J. L. Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", ICPR 2000). It grows with contrast, too, and finds the
    dark faces. Divided, it is the mean squared gain of the Laplacian over the image's own
    frequencies, and does not depend on brightness or contrast.
    """
    grey = images.astype(np.float32)
    centre = grey[:, 1:-1, 1:-1]
    neighbours = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    edges = (neighbours - 4 * centre).var(axis=(1, 2))
    spread = grey.var(axis=(1, 2))
    return np.divide(edges, spread, out=np.full(len(images), np.inf, np.float32), where=spread > 0)


def _places(data: Fer2013) -> np.ndarray:
    """int [N]: which split each row is in."""
    return np.repeat(np.arange(3), [len(split.labels) for split in data[:3]])


def _readability(images: np.ndarray) -> list[Finding]:
    spread, focus = contrast(images), sharpness(images)
    flat = np.ptp(images, axis=(1, 2)) == 0
    near = ~flat & (spread < NEAR_CONSTANT)
    blurred = ~flat & ~near & (focus < BLURRED)
    dark = f"standard deviation of the pixels below {NEAR_CONSTANT:g}"
    soft = f"variance of the Laplacian below {BLURRED:g} times the variance of the pixels"
    return [
        _finding("blank", "all pixels equal", flat, "grey level", images[:, 0, 0]),
        _finding("near_constant", dark, near, "std", spread),
        _finding("blurred", f"{soft}, and in none of the above", blurred, "sharpness", focus),
    ]


def _copies(groups: np.ndarray, labels: np.ndarray, places: np.ndarray) -> list[Finding]:
    """Rows with identical pixels; a group is named by the `file_row` of its first row."""
    groups = np.unique(groups, return_index=True)[1][groups] + 1
    several = (np.bincount(groups) > 1)[groups]
    across, opposed = _differs(groups, places), _differs(groups, labels)
    leaked = (places > 0) & np.isin(groups, groups[places == 0])
    opposed_rule = "copies that do not all have the same label"
    kinds = (
        ("copies", "the pixels occur in more than one row", several),
        ("copies_across_splits", "copies that lie in more than one split", across),
        ("copies_with_conflicting_labels", opposed_rule, opposed),
        ("test_rows_in_training", "test rows whose pixels also occur in Training", leaked),
    )
    return [_finding(name, rule, mask, "group", groups) for name, rule, mask in kinds]


def _differs(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """bool [N]: the row's group holds more than one value."""
    pairs = np.unique(np.stack([groups, values]), axis=1)
    return (np.bincount(pairs[0]) > 1)[groups]


def _finding(name: str, rule: str, mask: np.ndarray, measure: str, values: np.ndarray) -> Finding:
    """The rows of a mask by rising values."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(values[rows], kind="stable")]
    return Finding(name, rule, rows, measure, values[rows])

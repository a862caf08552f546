"""Figures of a recording from its table of faces, which is read row by row.

spacing = measure_spacing(table_path, every=1.0, frame=1 / 25)
summary = summarise(table_path, predictor.emotions, spacing)
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_jax.video import times

# a largest probability below: the network itself holds the name for more likely wrong than right
UNSURE = 0.5


class Row(NamedTuple):
    """A row of the table, less its box; of a look without a face `person` is 0, the rest empty."""

    time: float  # seconds
    person: int
    probabilities: np.ndarray  # float64 [C]
    emotion: str
    confidence: float
    valence: float


class Spacing(NamedTuple):
    """When the looks of a recording were taken: evenly, but for gaps in its own timestamps."""

    start: float  # seconds
    end: float
    looks: int
    step: float  # seconds, the mean from look to look where there is no gap
    longest: float  # seconds; what is longer from look to look is a gap


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a `record.Table` with valence, one at a time."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        for moment, person, _, _, _, _, *probabilities, emotion, confidence, valence in reader:
            if person:
                numbers = np.array(probabilities, float), emotion, float(confidence), float(valence)
                yield Row(float(moment), int(person), *numbers)
            else:
                yield Row(float(moment), 0, np.empty(0), "", 0.0, 0.0)


def measure_spacing(path: Path, every: float, frame: float) -> Spacing:
    """Return the spacing of the looks in the table at `path`, of at least one row.

    A gap is longer than one and a half median steps, and longer than looks at the first frame of
    each period can be apart: a period and a frame. The mean step, not the median: of 24 frames a
    second and looks every 0.05 s, four in five steps have one frame, and one has two.

    Args:
        every: seconds from look to look, as asked for.
        frame: seconds from frame to frame, as the recording states it; it may be wrong.
    """
    moments = (row.time for row in read_rows(path))
    start = last = next(moments)
    # by milliseconds, which is how times are written: few, however many looks
    steps: Counter[int] = Counter()
    for moment in moments:
        if moment != last:  # not another face in the same look
            steps[round(1000 * (moment - last))] += 1
            last = moment
    if not steps:
        return Spacing(start, last, 1, every, every)
    lengths, counts = np.array(sorted(steps.items())).T
    median = lengths[np.searchsorted(counts.cumsum(), counts.sum() / 2)] / 1000
    longest = max(1.5 * median, every + frame) + 0.001  # times are rounded
    regular = lengths <= 1000 * longest
    step = float(np.average(lengths[regular], weights=counts[regular])) / 1000
    return Spacing(start, last, 1 + steps.total(), step, float(longest))


def summarise(
    path: Path, emotions: Sequence[str], spacing: Spacing, duration: float | None = None
) -> dict[str, Any]:
    """Return figures of the recording whose table lies at `path`: builtins only, ready for JSON.

    A share is of looks; a time is a number of looks by the step from look to look. What lies
    between two looks is not seen: changes and runs are those at this rate, and a gap ends a run.

    Args:
        emotions: names of the probabilities.
        spacing: of the same table.
        duration: seconds, where the recording states it: its last look may stand for less than the
            others.
    """
    people: dict[int, _Tally] = {}
    unsure = seen = looks_with_face = 0
    last = -1  # look with a face
    for look, row in _numbered(read_rows(path), spacing.longest):
        if not row.person:
            continue
        if row.person not in people:
            people[row.person] = _Tally(row)
        people[row.person].add(look, row)
        seen += 1
        unsure += row.confidence < UNSURE
        looks_with_face += look != last
        last = look
    length = spacing.end - spacing.start
    seconds = length + spacing.step
    if duration is not None:
        seconds = min(seconds, max(duration, length))
    ranked = sorted(people.values(), key=lambda tally: (-tally.looks, tally.person))
    return {
        "start": spacing.start,
        "seconds": _rounded(seconds),
        "looks": spacing.looks,
        "step": _rounded(spacing.step),
        "share_without_face": _rounded(1 - looks_with_face / spacing.looks),
        "share_unsure": _rounded(unsure / seen) if seen else None,
        "people": [tally.figures(emotions, spacing.step) for tally in ranked],
    }


def describe(summary: Mapping[str, Any]) -> str:
    """Return the summary as a few lines of text, the people most seen first."""
    count = len(summary["people"])
    people = f"{count} {'person' if count == 1 else 'people'}"
    head = f"{summary['seconds']:.1f} s in {summary['looks']} looks, {people}, "
    head += f"{summary['share_without_face']:.1%} of the time without a face\n"
    return head + "".join(f"{_described(person)}\n" for person in summary["people"])


def _described(person: Mapping[str, Any]) -> str:
    ranked = sorted(person["share"].items(), key=lambda item: -item[1])
    run, changes = person["longest_run"], person["changes_per_minute"]
    start = times.time_of_day(run["start"], live=False)
    parts = [
        f"person {person['person']}: seen for {person['seconds']:.1f} s",
        ", ".join(f"{emotion} {share:.0%}" for emotion, share in ranked if share),
        f"longest run: {run['emotion']}, {run['seconds']:.1f} s from {start}",
        "changes unknown" if changes is None else f"{changes:.1f} changes a minute",
        f"mean valence {person['mean_valence']:+.2f}",
        f"unsure {person['share_unsure']:.0%}",
    ]
    return "; ".join(parts)


def _numbered(rows: Iterable[Row], longest: float) -> Iterator[tuple[int, Row]]:
    """Yield each row with its look's number; a gap, above `longest` seconds, leaves one out."""
    look, last = 0, None
    for row in rows:
        if last is not None and row.time != last:
            look += 1 if row.time - last <= longest else 2
        last = row.time
        yield look, row


class _Run(NamedTuple):
    """Looks that follow each other and show one emotion."""

    emotion: str
    start: float  # seconds
    looks: int


class _Tally:
    """Running figures of one person, whose first row is given."""

    def __init__(self, row: Row) -> None:
        self.person, self.looks = row.person, 0
        self._first, self._last, self._look = row.time, row.time, -2
        # of the probabilities, the valence and the confidence
        self._sums = np.zeros(len(row.probabilities) + 2)
        self._named: Counter[str] = Counter()
        self._sure: Counter[str] = Counter()
        self._together = self._changes = 0
        self._run = self._longest = _Run("", row.time, 0)

    def add(self, look: int, row: Row) -> None:
        together, changed = look == self._look + 1, row.emotion != self._run.emotion
        self._together += together
        self._changes += together and changed
        if together and not changed:
            self._run = self._run._replace(looks=self._run.looks + 1)
        else:
            self._run = _Run(row.emotion, row.time, 1)
        if self._run.looks > self._longest.looks:
            self._longest = self._run
        self._named[row.emotion] += 1
        self._sure[row.emotion] += row.confidence >= UNSURE
        self._sums += [*row.probabilities, row.valence, row.confidence]
        self.looks += 1
        self._look, self._last = look, row.time

    def figures(self, emotions: Sequence[str], step: float) -> dict[str, Any]:
        *probabilities, valence, confidence = self._sums / self.looks
        watched = self._together * step / 60  # minutes between looks that follow each other
        means = zip(emotions, probabilities, strict=True)
        return {
            "person": self.person,
            "first": self._first,
            "last": self._last,
            "looks": self.looks,
            "seconds": _rounded(self.looks * step),
            "share": {name: _rounded(self._named[name] / self.looks) for name in emotions},
            "share_sure": {name: _rounded(self._sure[name] / self.looks) for name in emotions},
            "mean_probability": {name: _rounded(mean) for name, mean in means},
            "longest_run": {
                "emotion": self._longest.emotion,
                "start": self._longest.start,
                "seconds": _rounded(self._longest.looks * step),
            },
            "changes_per_minute": _rounded(self._changes / watched) if watched else None,
            "mean_valence": _rounded(valence),
            "mean_confidence": _rounded(confidence),
            "share_unsure": _rounded(1 - self._sure.total() / self.looks),
        }


def _rounded(value: Any) -> float:
    return round(float(value), 4)

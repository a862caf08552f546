"""Figures of a recording from its table of faces, which is read row by row."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_jax.video import times

# a largest probability below: the network itself holds the name for more likely wrong than right
UNSURE = 0.5


class Row(NamedTuple):
    """A row of the table, less its box; of a look without a face all but the time are noughts."""

    time: float  # seconds
    person: int
    probabilities: np.ndarray  # float64 [C]
    emotion: str
    confidence: float
    valence: float


class Spacing(NamedTuple):
    """When the looks of a recording were taken, in seconds."""

    start: float
    end: float
    looks: int
    step: float  # the mean from look to look where there is no gap
    longest: float  # what is longer from look to look is a gap in the recording's own timestamps


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a `record.Table` with valence, one at a time."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        for moment, person, _, _, _, _, *cells, emotion, confidence, valence in reader:
            probabilities = np.array([cell or 0 for cell in cells], float)
            last = emotion, float(confidence or 0), float(valence or 0)
            yield Row(float(moment), int(person or 0), probabilities, *last)


def measure_spacing(path: Path, every: float, frame: float) -> Spacing:
    """Return the spacing of the looks in a table of at least one row.

    They were to be `every` seconds apart; frames are `frame` seconds apart by what the recording
    states. A gap is longer than one and a half median steps, and than a period and a frame. The
    mean step, not the median: of 24 frames a second and looks every 0.05 s, four in five steps have
    one frame, and one has two.
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
    The last look may stand for less, where the recording states its `duration` in seconds.
    """
    people: defaultdict[int, _Tally] = defaultdict(_Tally)
    look = without_face = 0
    last = spacing.start
    for row in read_rows(path):
        if row.time != last:
            look += 1 if row.time - last <= spacing.longest else 2  # a gap leaves a number out
            last = row.time
        if row.person:
            people[row.person].add(look, row)
        else:
            without_face += 1
    length = spacing.end - spacing.start
    seconds = length + spacing.step
    if duration is not None:
        seconds = min(seconds, max(duration, length))
    ranked = sorted(people.items(), key=lambda item: (-item[1].looks, item[0]))
    seen = sum(tally.looks for tally in people.values())
    sure = sum(tally.sure.total() for tally in people.values())
    return {
        "start": spacing.start,
        "seconds": _rounded(seconds),
        "looks": spacing.looks,
        "step": _rounded(spacing.step),
        "share_without_face": _rounded(without_face / spacing.looks),
        "share_unsure": _rounded(1 - sure / seen) if seen else None,
        "people": [
            {"person": person, **tally.figures(emotions, spacing.step)} for person, tally in ranked
        ],
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


_Run = tuple[str, float, int]  # looks that follow each other: their emotion, start and number


@dataclass
class _Tally:
    """Running figures of one person."""

    looks: int = 0
    first: float = 0.0  # seconds
    last: float = 0.0
    look: int = -2  # the last one's number
    together: int = 0  # looks that follow the one before
    changes: int = 0
    run: _Run = ("", 0.0, 0)
    longest: _Run = ("", 0.0, 0)
    named: Counter[str] = field(default_factory=Counter)
    sure: Counter[str] = field(default_factory=Counter)
    sums: np.ndarray | float = 0.0  # of the probabilities, the valence and the confidence

    def add(self, look: int, row: Row) -> None:
        emotion, start, looks = self.run
        together = look == self.look + 1
        self.together += together
        self.changes += together and row.emotion != emotion
        goes_on = together and row.emotion == emotion
        self.run = (emotion, start, looks + 1) if goes_on else (row.emotion, row.time, 1)
        self.longest = max(self.longest, self.run, key=lambda run: run[2])
        self.named[row.emotion] += 1
        self.sure[row.emotion] += row.confidence >= UNSURE
        self.sums = self.sums + np.array([*row.probabilities, row.valence, row.confidence])
        self.first = self.first if self.looks else row.time
        self.looks += 1
        self.look, self.last = look, row.time

    def figures(self, emotions: Sequence[str], step: float) -> dict[str, Any]:
        *probabilities, valence, confidence = np.asarray(self.sums) / self.looks
        watched = self.together * step / 60  # minutes between looks that follow each other
        means = zip(emotions, probabilities, strict=True)
        emotion, start, looks = self.longest
        longest = {"emotion": emotion, "start": start, "seconds": _rounded(looks * step)}
        return {
            "first": self.first,
            "last": self.last,
            "looks": self.looks,
            "seconds": _rounded(self.looks * step),
            "share": {name: _rounded(self.named[name] / self.looks) for name in emotions},
            "share_sure": {name: _rounded(self.sure[name] / self.looks) for name in emotions},
            "mean_probability": {name: _rounded(mean) for name, mean in means},
            "longest_run": longest,
            "changes_per_minute": _rounded(self.changes / watched) if watched else None,
            "mean_valence": _rounded(valence),
            "mean_confidence": _rounded(confidence),
            "share_unsure": _rounded(1 - self.sure.total() / self.looks),
        }


def _rounded(value: Any) -> float:
    return round(float(value), 4)

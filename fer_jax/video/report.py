"""A recording becomes a report: a table of every face, a picture for each person, a summary and one
HTML page.

reader = Reader(predictor, predictor.emotions, detector, every=1.0, model="")
summary = analyse("interview.mp4", Path("reports"), "interview", reader)

Frames are read one at a time, the table is written row by row, and the rest is made from it row by
row: memory grows with the number of people, by a few kilobytes each, not with the length of the
recording.
"""

import csv
import itertools
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_jax import faces, plots
from fer_jax.errors import InputError
from fer_jax.labels import VALENCE
from fer_jax.video import report_page, stream, tracks
from fer_jax.video.report_page import UNSURE

# a face seen in fewer looks is mostly a false alarm: it is in the table, but gets no picture
MIN_LOOKS = 3
MAX_PEOPLE = 20  # with a picture on the page, those seen most
_THUMBNAIL = 120  # pixels
# of a report's files, beside the pictures
_ENDS = ("_faces.csv", "_summary.json", "_summary.txt", ".html")
_STRETCHES = 8  # thumbnails a person
_BINS = 1200  # of a timeline: more than its pixels would only cost time and memory
_MEMORY = 3.0  # seconds, or looks, for which an unseen person is remembered

Frames = Iterable[tuple[float, faces.Frame]]  # (seconds, frame)


@dataclass(frozen=True)
class Reader:
    """What turns frames into rows.

    `predict` gives probabilities in the order of `emotions`; `every` is in seconds; `model` says in
    a sentence or two for the page which network it is and what it was measured to reach.
    """

    predict: stream.Predict
    emotions: Sequence[str]
    detector: faces.Detector
    every: float
    model: str


class Stretch(NamedTuple):
    """The time in which one person showed one emotion, but for slips: single looks in between that
    show another.
    """

    emotion: str
    start: float  # seconds, of its first look
    looks: int  # that show the emotion
    confidence: float  # the largest of its looks
    surest: float  # seconds, of the look of that confidence
    thumbnail: bytes  # JPEG, the face in that look


class Turns(NamedTuple):
    """When one person turned to another emotion."""

    stretches: list[Stretch]  # that began there, the longest ones, in the order of time
    count: int  # of all


class Row(NamedTuple):
    """A row of the table, less its box. In a look without a face `person` is 0 and the rest empty."""

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


def analyse(
    source: str | Path,
    folder: Path,
    name: str,
    reader: Reader,
    advance: Callable[[float], object] = lambda _: None,
) -> dict[str, Any]:
    """Read a recording once, write its report to `folder` and return the summary.

    It writes NAME_faces.csv (`columns`), NAME_personN.png, NAME_summary.json, NAME_summary.txt and
    NAME.html: all of them or, on an error, none. Pictures of people of an earlier report of that
    name are removed.

    Args:
        advance: called with the seconds of video that each look brings, for a progress bar.

    Raises:
        InputError: the recording cannot be read, or not one frame of it.
        OSError: the report cannot be written.
    """
    with _appearing_in(folder, name, Path(source)) as work:
        table_path = work / f"{name}_faces.csv"
        with stream.Video(source) as video:
            turns = record(_announced(video.frames(reader.every), advance), reader, table_path)
            duration, frame = video.duration, 1 / video.rate
        if next(read_rows(table_path), None) is None:
            raise InputError(f"{source}: must be a video, but not one of its frames can be decoded")
        spacing = measure_spacing(table_path, reader.every, frame)
        summary = {
            "video": str(Path(source).resolve()),
            **summarise(table_path, reader.emotions, spacing, duration),
        }
        (work / f"{name}_summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        (work / f"{name}_summary.txt").write_text(describe(summary))
        pictures = _draw_people(table_path, summary, reader.emotions, spacing, work / name)
        html = report_page.render(Path(source).name, summary, pictures, turns, reader.model)
        # a file name may be no Unicode
        (work / f"{name}.html").write_text(html, encoding="utf-8", errors="replace")
    return summary


def columns(emotions: Sequence[str]) -> list[str]:
    """The table's header.

    time: seconds; person: a number from 1, empty (as all that follows) for a look without a face;
    x, y, w, h: the face's box in pixels; a probability for each emotion; emotion: the most likely
    one; confidence: its probability; valence: the probability of the pleasant emotions less that of
    the unpleasant ones (`labels.VALENCE`), in [-1, 1].
    """
    return ["time", "person", "x", "y", "w", "h", *emotions, "emotion", "confidence", "valence"]


def record(frames: Frames, reader: Reader, path: Path) -> dict[int, Turns]:
    """Write the table of `columns` to `path`, a row for each face of each look; the turns of the
    people most seen.
    """
    tracker = tracks.Tracker(max_gap=_MEMORY * max(reader.every, 1))
    gallery = _Gallery()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns(reader.emotions))
        for moment, frame in frames:
            boxes = list(reader.detector(frame))
            people = tracker.update(moment, boxes)
            if not boxes:
                writer.writerow([f"{moment:.3f}"] + [""] * (len(reader.emotions) + 8))
                continue
            probabilities = np.asarray(
                reader.predict(np.stack([faces.crop(frame, box) for box in boxes]))
            )
            for person, box, row in zip(people, boxes, probabilities, strict=True):
                writer.writerow(_row(moment, person, box, row, reader.emotions))
                gallery.see(
                    person, moment, reader.emotions[int(row.argmax())], float(row.max()), frame, box
                )
    return gallery.turns()


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of the table that `record` wrote, one at a time."""
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
    """The spacing of the looks in the table at `path`, at least one row.

    A gap is longer than one and a half median steps, and longer than looks at the first frame of
    each period can be apart: a period and a frame. The mean step, not the median: of 24 frames a
    second and looks every 0.05 s, four in five steps have one frame, and one has two.

    Args:
        every: seconds from look to look, as asked for.
        frame: seconds from frame to frame, as the recording states it; it may be wrong.
    """
    times = (row.time for row in read_rows(path))
    start = last = next(times)
    # by milliseconds, which is how times are written: few, however many looks
    steps: Counter[int] = Counter()
    for moment in times:
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
    """Figures of the recording whose table lies at `path`: builtins only, ready for JSON.

    A share is of looks; a time is a number of looks by the step from look to look. What lies
    between two looks is not seen: changes and runs are those at this rate, and a gap ends a run.

    Args:
        spacing: of the same table.
        duration: seconds, where the recording states it: its last look may stand for less than the
            others.
    """
    people: dict[int, _Tally] = {}
    unsure = faces_seen = looks_with_face = 0
    last = -1  # look with a face
    for look, row in _numbered(read_rows(path), spacing.longest):
        if not row.person:
            continue
        if row.person not in people:
            people[row.person] = _Tally(row)
        people[row.person].add(look, row)
        unsure, faces_seen = unsure + (row.confidence < UNSURE), faces_seen + 1
        looks_with_face, last = looks_with_face + (look != last), look
    length = spacing.end - spacing.start
    seconds = (
        length + spacing.step
        if duration is None
        else min(length + spacing.step, max(duration, length))
    )
    return {
        "start": spacing.start,
        "seconds": _rounded(seconds),
        "looks": spacing.looks,
        "step": _rounded(spacing.step),
        "share_without_face": _rounded(1 - looks_with_face / spacing.looks),
        "share_unsure": _rounded(unsure / faces_seen) if faces_seen else None,
        "people": [
            tally.figures(emotions, spacing.step)
            for tally in sorted(people.values(), key=lambda tally: (-tally.looks, tally.person))
        ],
    }


def describe(summary: Mapping[str, Any]) -> str:
    """The summary as a few lines of text, the people most seen first."""
    count = len(summary["people"])
    head = f"{summary['seconds']:.1f} s in {summary['looks']} looks, {count} {'person' if count == 1 else 'people'}, "
    head += f"{summary['share_without_face']:.1%} of the time without a face\n"
    return head + "".join(f"{_described(person)}\n" for person in summary["people"])


def names(paths: Sequence[Path], folder: Path) -> list[str]:
    """A name for the report of each recording: its stem, with a number if another recording has or
    had that name here.

    "Had": a summary in `folder` states another video. So a report is replaced by its own video's
    next one only.
    """
    taken: set[str] = set()
    chosen = []
    for path in paths:
        candidates = itertools.chain(
            [path.stem], (f"{path.stem}-{number}" for number in itertools.count(2))
        )
        name = next(
            name
            for name in candidates
            if name.casefold() not in taken and _is_free(folder, name, path)
        )
        taken.add(name.casefold())
        chosen.append(name)
    return chosen


def describe_model(metadata: Mapping[str, Any]) -> str:
    """What a model file states of itself, for people: name and accuracy on its hold-out, as far as
    they are there.
    """
    best, name, protocol = (metadata.get(key) for key in ("best", "name", "protocol"))
    accuracy = best.get("holdout_accuracy") if isinstance(best, Mapping) else None
    stated = f"Model {name}" if isinstance(name, str) and name else "A model without a name"
    if isinstance(protocol, str) and protocol:
        stated += f", protocol {protocol}"
    if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        return f"{stated}. Its file states no measured accuracy: treat its output as unproven."
    return f"{stated}. It names {accuracy:.1%} of the FER-2013 faces held out of its training as their annotators did."


@dataclass
class _Person:
    """The gallery's memory of one person: the stretch that goes on, a look that may be a slip, and
    the longest before.
    """

    current: Stretch
    slip: Stretch | None = None
    done: list[Stretch] = field(default_factory=list)
    looks: int = 1
    finished: int = 0  # stretches
    steady: int = 0  # of them, those of more than one look

    def see(self, look: Stretch) -> None:
        """Go on with `look`, a stretch of a single look."""
        self.looks += 1
        if look.emotion == self.current.emotion:
            self.current, self.slip = _joined(self.current, look), None
        elif self.slip is not None and look.emotion == self.slip.emotion:
            self._turn(_joined(self.slip, look))
        elif self.current.looks == 1:  # no steadier than the new one
            self._turn(look)
        else:
            self.slip = look

    def turns(self) -> Turns:
        """Single looks are no turns, unless there is nothing else. Call it once, at the end."""
        self._finish()
        shown = [stretch for stretch in self.done if stretch.looks > 1] or self.done
        return Turns(sorted(shown, key=lambda stretch: stretch.start), self.steady or self.finished)

    def _turn(self, new: Stretch) -> None:
        self._finish()
        self.current, self.slip = new, None

    def _finish(self) -> None:
        """Let the current stretch be one of the longest, or forget it."""
        self.finished, self.steady = self.finished + 1, self.steady + (self.current.looks > 1)
        self.done = sorted([*self.done, self.current], key=lambda stretch: -stretch.looks)[
            :_STRETCHES
        ]


def _joined(stretch: Stretch, look: Stretch) -> Stretch:
    surer = max(stretch, look, key=lambda one: one.confidence)
    return surer._replace(start=stretch.start, looks=stretch.looks + look.looks)


class _Gallery:
    """Keeps a thumbnail for each of the longest stretches of the people most seen: bounded, however
    long the video.
    """

    def __init__(self) -> None:
        self._people: dict[int, _Person] = {}

    def see(
        self,
        number: int,
        moment: float,
        emotion: str,
        confidence: float,
        frame: faces.Frame,
        box: faces.Box,
    ) -> None:
        look = Stretch(emotion, moment, 1, confidence, moment, _thumbnail(frame, box))
        if number in self._people:
            self._people[number].see(look)
        else:
            self._make_room()
            self._people[number] = _Person(look)

    def _make_room(self) -> None:
        """Of twice as many people as are shown, forget the half seen least."""
        if len(self._people) >= 2 * MAX_PEOPLE:
            ranked = sorted(self._people.items(), key=lambda item: -item[1].looks)
            self._people = dict(ranked[:MAX_PEOPLE])

    def turns(self) -> dict[int, Turns]:
        """By person; call it once, at the end."""
        return {number: person.turns() for number, person in self._people.items()}


def _row(
    moment: float, person: int, box: faces.Box, probabilities: np.ndarray, emotions: Sequence[str]
) -> list[Any]:
    best = int(probabilities.argmax())
    valence = float(probabilities @ np.array(VALENCE[: len(emotions)]))
    numbers = [f"{value:.5f}" for value in (*probabilities, probabilities[best], valence)]
    return [f"{moment:.3f}", person, *box[:4], *numbers[:-2], emotions[best], *numbers[-2:]]


def _numbered(rows: Iterable[Row], longest: float) -> Iterator[tuple[int, Row]]:
    """Each row with its look's number; a gap, which is longer than `longest` seconds, leaves a
    number out.
    """
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
        self._together, self._changes = (
            self._together + together,
            self._changes + (together and changed),
        )
        goes_on = together and not changed
        self._run = (
            self._run._replace(looks=self._run.looks + 1)
            if goes_on
            else _Run(row.emotion, row.time, 1)
        )
        if self._run.looks > self._longest.looks:
            self._longest = self._run
        self._named[row.emotion] += 1
        self._sure[row.emotion] += row.confidence >= UNSURE
        self._sums += [*row.probabilities, row.valence, row.confidence]
        self.looks, self._look, self._last = self.looks + 1, look, row.time

    def figures(self, emotions: Sequence[str], step: float) -> dict[str, Any]:
        # minutes between looks that follow each other
        means, watched = self._sums / self.looks, self._together * step / 60
        return {
            "person": self.person,
            "first": self._first,
            "last": self._last,
            "looks": self.looks,
            "seconds": _rounded(self.looks * step),
            "share": {name: _rounded(self._named[name] / self.looks) for name in emotions},
            "share_sure": {name: _rounded(self._sure[name] / self.looks) for name in emotions},
            "mean_probability": {
                name: _rounded(mean) for name, mean in zip(emotions, means[:-2], strict=True)
            },
            "longest_run": {
                "emotion": self._longest.emotion,
                "start": self._longest.start,
                "seconds": _rounded(self._longest.looks * step),
            },
            "changes_per_minute": _rounded(self._changes / watched) if watched else None,
            "mean_valence": _rounded(means[-2]),
            "mean_confidence": _rounded(means[-1]),
            "share_unsure": _rounded(1 - self._sure.total() / self.looks),
        }


def _described(person: Mapping[str, Any]) -> str:
    ranked = sorted(person["share"].items(), key=lambda item: -item[1])
    run, changes = person["longest_run"], person["changes_per_minute"]
    parts = [
        f"person {person['person']}: seen for {person['seconds']:.1f} s",
        ", ".join(f"{emotion} {share:.0%}" for emotion, share in ranked if share),
        f"longest run: {run['emotion']}, {run['seconds']:.1f} s from {stream.time_of_day(run['start'], live=False)}",
        "changes unknown" if changes is None else f"{changes:.1f} changes a minute",
        f"mean valence {person['mean_valence']:+.2f}",
        f"unsure {person['share_unsure']:.0%}",
    ]
    return "; ".join(parts)


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def _draw_people(
    table: Path, summary: Mapping[str, Any], emotions: Sequence[str], spacing: Spacing, stem: Path
) -> dict[int, bytes]:
    """STEM_personN.png of each person who is seen often enough, and their contents by person, most
    seen first.
    """
    pictures = {}
    span, bin_width = (
        (spacing.start, spacing.start + summary["seconds"]),
        summary["seconds"] / _BINS,
    )
    enough = min(MIN_LOOKS, spacing.looks)
    people = [
        person["person"] for person in summary["people"][:MAX_PEOPLE] if person["looks"] >= enough
    ]
    binned = bin_width > spacing.longest  # so a bin without a look is in a gap
    # without bins, so wide that the timeline takes for a gap what is one here
    width = bin_width if binned else max(spacing.step, spacing.longest / 1.5)
    for number, (times, means) in _curves(
        table, people, spacing.start, bin_width if binned else 0
    ).items():
        figure = plots.emotion_timeline(times, means, emotions, width, span)
        path = stem.with_name(f"{stem.name}_person{number}.png")
        figure.savefig(path)
        pictures[number] = path.read_bytes()
    return pictures


def _curves(
    table: Path, people: Sequence[int], start: float, width: float
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By person, in the order given: times [N] and probabilities [N, C], which with `width` are the
    means of bins.

    Bins are `width` seconds wide from `start` on; those without a look are left out, the others'
    times are their beginnings.
    """
    # of probabilities, and their number
    sums: dict[int, dict[float, np.ndarray]] = {person: {} for person in people}
    for row in read_rows(table):
        if row.person in sums:
            moment = start + math.floor((row.time - start) / width) * width if width else row.time
            bins, look = sums[row.person], np.append(row.probabilities, 1)
            bins[moment] = bins[moment] + look if moment in bins else look
    stacked = {person: np.stack(list(bins.values())) for person, bins in sums.items()}
    return {
        person: (np.array(list(sums[person])), each[:, :-1] / each[:, -1:])
        for person, each in stacked.items()
    }


def _thumbnail(frame: faces.Frame, box: faces.Box) -> bytes:
    """The face with some of what is around it, a square JPEG."""
    cv2 = faces.opencv()
    side = round(1.5 * max(box.w, box.h))
    left, top = box.x + (box.w - side) // 2, box.y + (box.h - side) // 2
    cut = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    height, width = cut.shape[:2]
    scale = _THUMBNAIL / max(height, width)
    small = cv2.resize(
        cut,
        (max(1, round(width * scale)), max(1, round(height * scale))),
        interpolation=cv2.INTER_AREA,
    )
    return cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()


def _announced(
    frames: Frames, advance: Callable[[float], object]
) -> Iterator[tuple[float, faces.Frame]]:
    last = 0.0
    for moment, frame in frames:
        advance(moment - last)
        last = moment
        yield moment, frame


def _is_free(folder: Path, name: str, video: Path) -> bool:
    """Whether no file of that name's report lies in `folder`, or the report of this very video."""
    return _is_of(folder, name, video) or not any(
        (folder / f"{name}{end}").exists() for end in _ENDS
    )


def _is_of(folder: Path, name: str, video: Path) -> bool:
    try:
        return json.loads((folder / f"{name}_summary.json").read_text())["video"] == str(
            video.resolve()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, or not ours


@contextmanager
def _appearing_in(folder: Path, name: str, video: Path) -> Iterator[Path]:
    """A temporary folder in `folder`, whose files move there at the end of the block, or vanish
    with an error.

    They replace an earlier report of `video`, whose further pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = re.compile(re.escape(name) + r"_person\d+\.png")
    earlier = (
        [path for path in folder.iterdir() if people.fullmatch(path.name)]
        if _is_of(folder, name, video)
        else []
    )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as temporary:
        yield Path(temporary)
        made = list(Path(temporary).iterdir())
        for path in made:
            path.replace(folder / path.name)
    for path in earlier:
        if path.name not in {new.name for new in made}:
            path.unlink()

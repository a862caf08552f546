"""Look at a camera or a recording once a second, and name what each face shows.

with capture.Video(0) as video:
    for event in watch(video, Predictor(), faces.detector()):
        print(described(event, live=video.live))
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fer_jax import faces
from fer_jax.video import times
from fer_jax.video.capture import Idle, Video
from fer_jax.video.tracks import Tracker

# in place of an emotion whose probability is below what the user wants to hear about
UNCERTAIN = "uncertain"


class Predictor(Protocol):
    """Probabilities, float32 [N, C], of faces, uint8 [N, 48, 48].

    Or [N, 2, C]: of each face as it is and as it is hacked. `emotions` are the C names.
    """

    @property
    def emotions(self) -> Sequence[str]: ...

    def __call__(self, faces: np.ndarray, /) -> np.ndarray: ...


class Prediction(NamedTuple):
    """What one face shows."""

    emotion: str  # one of the predictor's, or `UNCERTAIN`
    probability: float  # the largest of `probabilities`
    probabilities: np.ndarray  # float32 [C]
    box: faces.Face
    person: int = 1  # the same number for the same person, look after look
    hacked: "Prediction | None" = None  # what the same face shows when it is hacked, if it is


class Event(NamedTuple):
    """One look at a video."""

    # seconds to print: since the epoch for a live source, since the beginning for a recording
    time: float
    predictions: tuple[Prediction, ...]  # the largest face first; empty: no face
    frame: faces.Frame  # BGR uint8 [H, W, 3]
    due: bool  # the first look of its period: to be printed
    moment: float  # seconds to measure by: they only increase, whatever becomes of the clock


class Smoother:
    """The exponential average of each person's probabilities: looks `t` apart keep exp(-t/seconds).

    Who was not seen for `2 * seconds` starts afresh; with 0 seconds nothing is averaged.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[int, tuple[float, np.ndarray]] = {}

    def __call__(
        self, moment: float, people: Sequence[int], probabilities: np.ndarray
    ) -> np.ndarray:
        """Return `probabilities` [N, ...] of N different people at `moment` seconds, averaged."""
        if self._seconds <= 0:
            return probabilities
        self._last = {k: v for k, v in self._last.items() if moment - v[0] <= 2 * self._seconds}
        averages = np.array(probabilities)
        for row, person in enumerate(people):
            if person in self._last:
                then, old = self._last[person]
                keep = math.exp(-(moment - then) / self._seconds)
                averages[row] = keep * old + (1 - keep) * averages[row]
            self._last[person] = moment, averages[row]
        return averages


def watch(
    video: Video,
    predictor: Predictor,
    detector: faces.Detector,
    every: float = 1.0,
    *,
    real_time: bool = True,
    each_frame: bool = False,
    smooth: float = 0.0,
    min_confidence: float = 0.0,
    max_seconds: float = math.inf,
    idle: Idle | None = None,
) -> Iterator[Event]:
    """Yield an event for each `every` seconds of a video; 0 gives every frame.

    Args:
        real_time: play a recording at its own speed, leaving out looks that come too late. Without
            it every look is taken, and the outcome does not depend on the machine's speed.
        each_frame: yield an event per frame; the first of each period is `due`.
        smooth: the time constant of `Smoother`, in seconds.
        min_confidence: an emotion of a lower probability is called `UNCERTAIN`.
        max_seconds: stop so many seconds after the first look.
        idle: called ten times a second while a live source gives nothing; False ends the stream.
    """
    period = 0.0 if each_frame else every
    looks = video.frames(period, idle)
    tracker = Tracker(max(3.0, 3 * every))
    smoother = Smoother(smooth)
    due = times.Periods(every if each_frame else 0)
    first = None
    for moment, frame in times.paced(looks, period) if real_time and not video.live else looks:
        first = moment if first is None else first
        if moment - first >= max_seconds:
            return
        boxes = detector(frame)
        people = tracker.update(moment, boxes)
        seen = []
        if boxes:
            crops = np.stack([faces.crop(frame, box) for box in boxes])
            averages = smoother(moment, people, np.asarray(predictor(crops)))
            for box, person, average in zip(boxes, people, averages, strict=True):
                one = None
                for each in np.atleast_2d(average)[::-1]:  # as hacked, if it is; then as it is
                    best = float(each.max())
                    sure = best >= min_confidence
                    name = predictor.emotions[int(each.argmax())] if sure else UNCERTAIN
                    one = Prediction(name, best, each, box, person, hacked=one)
                seen.append(one)
        yield Event(video.clock_time(moment), tuple(seen), frame, due(moment), moment)


def described(event: Event, *, live: bool, numbered: bool = False) -> str:
    """Return an event as lines, one per face: by number if there are several, or `numbered`."""
    stamp = times.time_of_day(event.time, live=live) + "s : "
    if not event.predictions:
        return stamp + "no face"
    lines = []
    for one in sorted(event.predictions, key=lambda one: one.person):
        number = f"person {one.person} : " if numbered or len(event.predictions) > 1 else ""
        hacked = f"  hacked : {named(one.hacked)}" if one.hacked else ""
        lines.append(f"{stamp}{number}{named(one)}{hacked}")
    return "\n".join(lines)


def named(prediction: Prediction, separator: str = " , ") -> str:
    """Return a prediction's emotion and probability: `Happy , 73%`, or `uncertain , 31%`."""
    name = prediction.emotion
    name = name if name == UNCERTAIN else name.capitalize()
    return f"{name}{separator}{prediction.probability:.0%}"

"""Keep thumbnails of people where each turned to another emotion: bounded in memory."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fer_jax import faces
from fer_jax.faces import pictures
from fer_jax.video.watch import Event

MAX_PEOPLE = 20  # with a picture on the page, those seen most
_THUMBNAIL = 120  # pixels
_STRETCHES = 8  # thumbnails of a person


class Stretch(NamedTuple):
    """The time in which one person showed one emotion, but for single looks in between: slips."""

    emotion: str
    start: float  # seconds, of its first look
    looks: int  # that show the emotion
    confidence: float  # the largest of its looks
    surest: float  # seconds, of the look of that confidence
    thumbnail: bytes  # JPEG, the face in that look

    def joined(self, look: "Stretch") -> "Stretch":
        """Return this stretch with a later one of the same emotion."""
        surer = self if self.confidence >= look.confidence else look
        return surer._replace(start=self.start, looks=self.looks + look.looks)


class Turns(NamedTuple):
    """When one person turned to another emotion."""

    stretches: list[Stretch]  # that began there, the longest ones, in the order of time
    count: int  # of all


@dataclass
class _Person:
    """One person's stretch that goes on, a look that may be a slip, and the longest before."""

    current: Stretch
    slip: Stretch | None = None
    done: list[Stretch] = field(default_factory=list)
    looks: int = 1
    finished: int = 0  # stretches
    steady: int = 0  # finished ones of more than one look

    def see(self, look: Stretch) -> None:
        self.looks += 1
        if look.emotion == self.current.emotion:
            self.current, self.slip = self.current.joined(look), None
        elif self.slip is not None and look.emotion == self.slip.emotion:
            self._turn(self.slip.joined(look))
        elif self.current.looks == 1:  # no steadier than the new one
            self._turn(look)
        else:
            self.slip = look

    def turns(self) -> Turns:
        """Return the turns; single looks are none, unless there is nothing else."""
        self._finish()
        shown = [stretch for stretch in self.done if stretch.looks > 1] or self.done
        return Turns(sorted(shown, key=lambda stretch: stretch.start), self.steady or self.finished)

    def _turn(self, new: Stretch) -> None:
        self._finish()
        self.current, self.slip = new, None

    def _finish(self) -> None:
        """Let the current stretch be one of the longest, or forget it."""
        self.finished += 1
        self.steady += self.current.looks > 1
        ranked = sorted([*self.done, self.current], key=lambda stretch: -stretch.looks)
        self.done = ranked[:_STRETCHES]


class Gallery:
    """A thumbnail for each of the longest stretches of the people most seen."""

    def __init__(self) -> None:
        self._people: dict[int, _Person] = {}

    def see(self, event: Event) -> None:
        for one in event.predictions:
            thumbnail = _thumbnail(event.frame, one.box)
            look = Stretch(one.emotion, event.time, 1, one.probability, event.time, thumbnail)
            if one.person in self._people:
                self._people[one.person].see(look)
                continue
            if len(self._people) >= 2 * MAX_PEOPLE:  # forget the half seen least
                ranked = sorted(self._people.items(), key=lambda item: -item[1].looks)
                self._people = dict(ranked[:MAX_PEOPLE])
            self._people[one.person] = _Person(look)

    def turns(self) -> dict[int, Turns]:
        """Return the turns by person; call it once, at the end."""
        return {number: person.turns() for number, person in self._people.items()}


def _thumbnail(frame: faces.Frame, box: faces.Face) -> bytes:
    """Return the face with some of what is around it, a square JPEG."""
    cv2 = pictures.opencv()
    side = round(1.5 * max(box.w, box.h))
    left, top = box.x + (box.w - side) // 2, box.y + (box.h - side) // 2
    cut = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    height, width = (max(1, round(_THUMBNAIL * n / max(cut.shape[:2]))) for n in cut.shape[:2])
    small = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()

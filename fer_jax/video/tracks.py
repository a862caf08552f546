"""Follow people from look to look: each face keeps its person's number.

people = Tracker(max_gap=3.0).update(time, detector(frame))

Only boxes are compared, never faces: nobody is recognised.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_jax.faces import Face

# How far a face may be from where it is expected, in face widths: at once, for each second unseen,
# and at most. Heads that talk stay within half a width a second; people who walk make two.
_REACH, _REACH_PER_SECOND, _LONGEST_REACH = 0.75, 1.5, 2.5
# a box that shrank or grew by more is another person's; Haar's boxes jitter by 1.3
_SIZE_RATIO = 2.0
# seconds over which a velocity is averaged: one box's jitter over 40 ms is no movement
_SMOOTHING = 0.2
_PERSISTENCE = 0.5  # seconds after which a head unseen no longer goes where it went


@dataclass
class _Track:
    number: int
    centre: np.ndarray  # float [2], pixels
    size: float  # pixels, the square root of the box's area
    velocity: np.ndarray  # float [2], pixels per second
    unseen: float = 0.0  # seconds since the last box

    def expected(self) -> np.ndarray:
        """Return where the centre should be: heads go on for a moment, also while one is hidden."""
        return self.centre + self.velocity * _PERSISTENCE * -math.expm1(-self.unseen / _PERSISTENCE)

    def see(self, centre: np.ndarray, size: float) -> None:
        if self.unseen > 0:
            measured = (centre - self.centre) / self.unseen
            share = -math.expm1(-self.unseen / _SMOOTHING)
            self.velocity = self.velocity + share * (measured - self.velocity)
        self.centre, self.size, self.unseen = centre, size, 0.0


class Tracker:
    """Numbers people from 1 in the order of their first look; a number is never used twice.

    Boxes are assigned to the people of the last `max_gap` seconds so that the sum of squared
    distances is least: the plain sum is the same for two who moved on and for two who changed
    places. A distance is the way from the expected centre in face widths, together with the
    logarithm of the ratio of the sizes. A pair out of reach costs as much as two left alone.
    """

    def __init__(self, max_gap: float = 3.0) -> None:
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._people = 0
        self._time: float | None = None

    def update(self, time: float, boxes: Sequence[Face]) -> list[int]:
        """Return the person's number of each of `boxes`, seen at `time` seconds.

        Looks without a face may be left out. A clock that is put back counts as no time passed.
        """
        self._age(time)
        centres = np.array([box.centre for box in boxes], float).reshape(-1, 2)
        sizes = np.array([math.sqrt(max(box.w * box.h, 1)) for box in boxes])
        known = {box: self._tracks[track] for track, box in self._pairs(centres, sizes)}
        numbers = []
        for box, (centre, size) in enumerate(zip(centres, sizes, strict=True)):
            track = known.get(box) or self._enter(centre, size)
            track.see(centre, size)
            numbers.append(track.number)
        return numbers

    def _age(self, time: float) -> None:
        """Let time pass, and forget who was not seen for too long."""
        passed = 0.0 if self._time is None else max(0.0, time - self._time)
        self._time = time
        for track in self._tracks:
            track.unseen += passed
        self._tracks = [track for track in self._tracks if track.unseen <= self._max_gap]

    def _pairs(self, centres: np.ndarray, sizes: np.ndarray) -> list[tuple[int, int]]:
        """Return which track goes on in which box, by their positions in the lists."""
        if not self._tracks or not len(sizes):
            return []
        # takes half a second to import: not before the first face
        from scipy.optimize import linear_sum_assignment

        expected = np.stack([track.expected() for track in self._tracks])
        old = np.array([track.size for track in self._tracks])
        unseen = np.array([track.unseen for track in self._tracks])
        width = np.sqrt(old[:, None] * sizes[None])
        distance = np.linalg.norm(expected[:, None] - centres[None], axis=-1) / width
        growth = np.log(sizes[None] / old[:, None])
        reach = np.minimum(_REACH + _REACH_PER_SECOND * unseen, _LONGEST_REACH)
        possible = (distance <= reach[:, None]) & (np.abs(growth) <= math.log(_SIZE_RATIO))
        alone = _LONGEST_REACH**2 + math.log(_SIZE_RATIO) ** 2  # no possible pair costs more
        rows, columns = linear_sum_assignment(np.where(possible, distance**2 + growth**2, alone))
        return [pair for pair in zip(rows, columns, strict=True) if possible[pair]]

    def _enter(self, centre: np.ndarray, size: float) -> _Track:
        self._people += 1
        self._tracks.append(_Track(self._people, centre, size, np.zeros(2)))
        return self._tracks[-1]

"""Times of looks, in seconds: which frames are due, a recording at its own speed, times as text."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# A step this much longer than the period of looks is a clock that jumps, not a still picture.
_JUMP_SECONDS = 5.0
# A recording that cannot be played in time is shown late rather than not at all for this long.
_SILENT_SECONDS = 1.0


class Periods:
    """Tell of each of increasing times whether it is the first in its period of `every` seconds.

    Periods are counted from the first time, and may have none; with 0 each time has its own.
    """

    def __init__(self, every: float) -> None:
        self._every, self._next = every, 0
        self._first: float | None = None
        self.due = -math.inf  # when the next period begins

    def __call__(self, moment: float) -> bool:
        if self._every <= 0:
            return True
        self._first = moment if self._first is None else self._first
        # milliseconds fall a hair short of k * every
        period = math.floor((moment - self._first) / self._every + 1e-6)
        if period < self._next:
            return False
        self._next = period + 1
        self.due = self._first + self._next * self._every - 1e-6
        return True


def increasing(positions: Iterable[float], step: float) -> Iterator[float]:
    """Yield positions; one that does not increase is replaced by the last one plus `step`."""
    last = -math.inf
    for position in positions:
        last = position if position > last else last + step
        yield last


def paced(items: Iterable[tuple[float, T]], every: float = 0.0) -> Iterator[tuple[float, T]]:
    """Hold each (time, item) of a recording back until that much real time has passed.

    An item that is later than the step from its predecessor is left out: the next one is due
    already. Time starts anew where the items come too slowly for that to help, and after a step
    that is five seconds longer than `every`: no one waits for a recording whose time jumps.
    """
    start = last = None
    resumed = time.monotonic()
    for moment, item in items:
        now = time.monotonic()
        if start is None or last is None or moment - last > every + _JUMP_SECONDS:
            start, last = now - moment, moment
        ahead = start + moment - now
        step, last = moment - last, moment
        if -ahead > step > 0:
            if now - resumed < _SILENT_SECONDS:
                continue
            start = now - moment
        time.sleep(max(0.0, ahead))
        yield moment, item
        resumed = time.monotonic()


def time_of_day(seconds: float, *, live: bool) -> str:
    """Return `HH:MM:SS`: local clock time of a live source, position in a recording."""
    if live:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    minutes, second = divmod(int(seconds + 1e-3), 60)  # a position of 6.9999 s is a rounded 7
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"

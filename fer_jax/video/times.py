"""Times of looks: which frames are due, how a recording is played at its own speed, how a time is
written.
"""

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
    """Tell of each of increasing times, in seconds, whether it is the first in its period.

    Periods last `every` seconds and are counted from the first time; with 0 each time has its own.
    """

    def __init__(self, every: float) -> None:
        self._every, self._next = every, 0
        self._first: float | None = None

    def __call__(self, moment: float) -> bool:
        if self._every <= 0:
            return True
        self._first = moment if self._first is None else self._first
        # milliseconds fall a hair short of k * every
        period = math.floor((moment - self._first) / self._every + 1e-6)
        if period < self._next:
            return False
        self._next = period + 1
        return True


def increasing(positions: Iterable[float], step: float) -> Iterator[float]:
    """Yield positions in seconds; one that does not increase becomes the last one plus `step`.

    Some containers state no times.
    """
    last = -math.inf
    for position in positions:
        last = position if position > last else last + step
        yield last


def sample(times: Iterable[float], every: float) -> Iterator[float]:
    """Yield the first of increasing times in each period of `every` seconds; 0 gives all.

    n frames at a constant rate give floor((n - 1) / (rate * every)) + 1 samples, as long as a
    period is no shorter than a frame; a period without a frame is left out.
    """
    return filter(Periods(every), times)


def paced(items: Iterable[tuple[float, T]], every: float = 0.0) -> Iterator[tuple[float, T]]:
    """Hold each (time, item) of a recording back until that much real time has passed.

    An item that is later than the step from its predecessor is left out: the next one is due
    already. Where the items come too slowly for that to help, time starts anew from what there is;
    and so it does after a step that is more than five seconds longer than `every`, since no one
    would wait for a recording whose time jumps by hours.
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

"""Draw what the network says onto a frame, and show frames in a window.

annotated = overlay.draw(event.frame, event.predictions, status="00:00:07")
with overlay.Window("live") as window:
    going_on = window.show(annotated)
    going_on = window.wait()  # now and then, while no frame comes
"""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Self

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.labels import by_count
from fer_jax.video.stream import Prediction, said

# Okabe and Ito's colours, BGR: told apart by the colour-blind too, and light enough for dark
# letters.
COLOURS = (
    (233, 180, 86),
    (0, 159, 230),
    (115, 158, 0),
    (66, 228, 240),
    (167, 121, 204),
    (0, 94, 213),
    (178, 114, 0),
)
_DARK, _LIGHT = (20, 20, 20), (245, 245, 245)
# a frame of so many rows is drawn in single pixels, one of twice as many in double ones
_UNIT = 360
_NAME_WIDTH, _BAR_WIDTH, _ROW = 46, 50, 11  # of the bars' panel, in units
_SILENT_SECONDS = 1.0  # without a frame, until the window says so
_SCREEN_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1)"


def colour(person: int) -> tuple[int, int, int]:
    """BGR of a person, who is numbered from 1."""
    return COLOURS[(person - 1) % len(COLOURS)]


def draw(
    frame: faces.Frame,
    predictions: Sequence[Prediction],
    *,
    numbered: bool = False,
    status: str = "",
) -> faces.Frame:
    """A copy of `frame`, BGR uint8 [H, W, 3], with each face's box, its emotion and a bar per
    probability; below the box what the face shows when it is hacked, if it is.

    Faces are told apart by colour, and by number if there are several or they are `numbered`;
    `status` is written into the upper left corner. Nothing outside of boxes and panels changes.
    """
    drawn = frame.copy()
    unit = _unit(frame)
    numbered = numbered or len(predictions) > 1
    for one in predictions:
        _panel(drawn, one, unit)
    for one in predictions:
        name = f"{one.person}: " if numbered else ""
        box, shade = one.box, colour(one.person)
        faces.opencv().rectangle(
            drawn, (box.x, box.y), (box.x + box.w - 1, box.y + box.h - 1), shade, 2 * unit
        )
        _label(drawn, name + said(one, " "), box.x, box.y - 14 * unit, shade, unit)
        if one.hacked:
            _label(drawn, f"hacked: {said(one.hacked, ' ')}", box.x, box.y + box.h, shade, unit)
    if status:
        _label(drawn, status, 0, 0, _LIGHT, unit)
    return drawn


def _unit(frame: faces.Frame) -> int:
    return max(1, round(min(frame.shape[:2]) / _UNIT))


def _panel(drawn: faces.Frame, one: Prediction, unit: int) -> None:
    """The bars of one face beside its box, on a darkened ground: right of it, else left, else
    wherever they fit.
    """
    cv2 = faces.opencv()
    height, width = drawn.shape[:2]
    wide, high = (_NAME_WIDTH + _BAR_WIDTH + 4) * unit, (_ROW * len(one.probabilities) + 2) * unit
    right, left = one.box.x + one.box.w + 2 * unit, one.box.x - wide - 2 * unit
    x = right if right + wide <= width else left if left >= 0 else max(0, width - wide)
    y = max(0, min(one.box.y, height - high))
    ground = drawn[y : y + high, x : x + wide]
    ground[:] = ground // 4
    for row, (name, probability) in enumerate(
        zip(by_count(len(one.probabilities)), one.probabilities, strict=True)
    ):
        top = y + (_ROW * row + 3) * unit
        cv2.putText(
            drawn,
            name,
            (x + 2 * unit, top + 6 * unit),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.28 * unit,
            _LIGHT,
            unit,
        )
        start, length = x + _NAME_WIDTH * unit, round(float(probability) * _BAR_WIDTH * unit)
        drawn[top : top + 6 * unit, start : start + length] = colour(one.person)


def _label(
    drawn: faces.Frame, text: str, x: int, y: int, shade: tuple[int, int, int], unit: int
) -> None:
    """Dark letters on a patch of colour whose upper left corner is (x, y), moved into the frame."""
    cv2 = faces.opencv()
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * unit, unit)
    x, y = (
        max(0, min(x, drawn.shape[1] - wide - 4 * unit)),
        max(0, min(y, drawn.shape[0] - 14 * unit)),
    )
    drawn[y : y + 14 * unit, x : x + wide + 4 * unit] = shade
    cv2.putText(
        drawn,
        text,
        (x + 2 * unit, y + 10 * unit),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4 * unit,
        _DARK,
        unit,
    )


def require_screen() -> None:
    """Refuse a machine that can show no window with an InputError: OpenCV itself would end the
    process.
    """
    probe = subprocess.run([sys.executable, "-c", _SCREEN_PROBE], capture_output=True)
    if probe.returncode != 0:
        raise InputError(
            "--display: this machine has no screen, or an OpenCV without windows; --save FILE needs neither"
        )


class Window:
    """A window on the screen, which `require_screen` has found. A context manager."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._moments: deque[float] = deque(maxlen=30)
        self._latest: tuple[float, faces.Frame] | None = None

    def show(self, frame: faces.Frame) -> bool:
        """Show a frame, BGR uint8 [H, W, 3]; False once the user has closed the window or pressed q
        or Escape.
        """
        self._latest = time.monotonic(), frame
        return self._shown(frame)

    def wait(self) -> bool:
        """Serve the user while no frame comes, which is said on the last one after a second; False
        as for `show`.
        """
        if self._latest is None:
            return True
        moment, frame = self._latest
        if (silent := time.monotonic() - moment) >= _SILENT_SECONDS:
            unit, frame = _unit(frame), frame.copy()
            _label(frame, f"no picture for {silent:.0f} s", 0, 14 * unit, _LIGHT, unit)
        return self._shown(frame)

    def _shown(self, frame: faces.Frame) -> bool:
        cv2 = faces.opencv()
        cv2.imshow(self._title, frame)
        key = cv2.waitKey(1) & 0xFF
        return (
            key not in (ord("q"), 27)
            and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        )

    def rate(self) -> float:
        """Calls per second over the last 30 of them; 0 at the first."""
        self._moments.append(time.monotonic())
        passed = self._moments[-1] - self._moments[0]
        return (len(self._moments) - 1) / passed if passed > 0 else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        faces.opencv().destroyAllWindows()

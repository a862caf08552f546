"""Draw what the network says onto a frame, and show frames in a window.

with overlay.Window("live") as window:
    window.show(overlay.draw(event.frame, event.predictions, predictor.emotions))
"""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Self

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.video.watch import Prediction, named

Colour = tuple[int, ...]  # BGR

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color), told apart by the colour-blind too, and
# light enough for dark letters.
_RGB = ("56B4E9", "E69F00", "009E73", "F0E442", "CC79A7", "D55E00", "0072B2")
_DARK, _LIGHT = (20, 20, 20), (245, 245, 245)
_UNIT = (
    360  # a frame of so many rows is drawn in single pixels, one of twice as many in double ones
)
_NAME_WIDTH, _BAR_WIDTH, _ROW, _LINE = 46, 50, 11, 14  # of panels and labels, in units
_SILENT_SECONDS = 1.0  # without a frame, until the window says so


def colour(person: int) -> Colour:
    """Return the colour of a person, who is numbered from 1."""
    return tuple(bytes.fromhex(_RGB[(person - 1) % len(_RGB)])[::-1])


def draw(
    frame: faces.Frame,
    predictions: Sequence[Prediction],
    emotions: Sequence[str],
    *,
    numbered: bool = False,
    status: str = "",
) -> faces.Frame:
    """Return a copy of a frame, BGR uint8 [H, W, 3], with boxes, emotions and probabilities.

    Below a box stands what the face shows when it is hacked, if it is. Faces are told apart by
    colour, and by number if there are several, or `numbered`. `status` is written into the upper
    left corner. Nothing outside of boxes and panels changes.
    """
    drawn = frame.copy()
    unit = _unit(frame)
    for one in predictions:
        _panel(drawn, one, emotions, unit)
    for one in predictions:
        name = f"{one.person}: " if numbered or len(predictions) > 1 else ""
        box, shade = one.box, colour(one.person)
        corners = (box.x, box.y), (box.x + box.w - 1, box.y + box.h - 1)
        pictures.opencv().rectangle(drawn, *corners, shade, 2 * unit)
        _label(drawn, name + named(one, " "), box.x, box.y - _LINE * unit, shade)
        if one.hacked:
            _label(drawn, f"hacked: {named(one.hacked, ' ')}", box.x, box.y + box.h, shade)
    if status:
        _label(drawn, status, 0, 0, _LIGHT)
    return drawn


def _unit(frame: faces.Frame) -> int:
    return max(1, round(min(frame.shape[:2]) / _UNIT))


def _panel(drawn: faces.Frame, one: Prediction, emotions: Sequence[str], unit: int) -> None:
    """Draw a face's bars on a darkened ground: right of its box, else left, else where they fit."""
    height, width = drawn.shape[:2]
    wide, high = (_NAME_WIDTH + _BAR_WIDTH + 4) * unit, (_ROW * len(emotions) + 2) * unit
    right, left = one.box.x + one.box.w + 2 * unit, one.box.x - wide - 2 * unit
    x = right if right + wide <= width else left if left >= 0 else max(0, width - wide)
    y = max(0, min(one.box.y, height - high))
    ground = drawn[y : y + high, x : x + wide]
    ground[:] = ground // 4
    for row, (name, probability) in enumerate(zip(emotions, one.probabilities, strict=True)):
        top = y + (_ROW * row + 3) * unit
        _write(drawn, name, (x + 2 * unit, top + 6 * unit), 0.28, _LIGHT)
        start, length = x + _NAME_WIDTH * unit, round(float(probability) * _BAR_WIDTH * unit)
        drawn[top : top + 6 * unit, start : start + length] = colour(one.person)


def _label(drawn: faces.Frame, text: str, x: int, y: int, shade: Colour) -> None:
    """Write on a patch of colour whose upper left corner is (x, y), moved into the frame."""
    cv2, unit = pictures.opencv(), _unit(drawn)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * unit, unit)
    wide, high = wide + 4 * unit, _LINE * unit
    x = max(0, min(x, drawn.shape[1] - wide))
    y = max(0, min(y, drawn.shape[0] - high))
    drawn[y : y + high, x : x + wide] = shade
    _write(drawn, text, (x + 2 * unit, y + 10 * unit), 0.4, _DARK)


def _write(drawn: faces.Frame, text: str, at: tuple[int, int], size: float, ink: Colour) -> None:
    cv2, unit = pictures.opencv(), _unit(drawn)
    cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, size * unit, ink, unit)


def require_screen() -> None:
    """Refuse (InputError) a machine that shows no window: OpenCV itself would end the process."""
    probe = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1)"
    if subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode != 0:
        reason = "this machine has no screen, or an OpenCV without windows"
        raise InputError(f"--display: {reason}; --save FILE needs neither")


class Window:
    """A window on the screen, which `require_screen` has found. A context manager."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._moments: deque[float] = deque(maxlen=30)
        self._latest: tuple[float, faces.Frame] | None = None

    def show(self, frame: faces.Frame) -> bool:
        """Show a frame; return False once the user closed the window or pressed q or Escape."""
        self._latest = time.monotonic(), frame
        return self._shown(frame)

    def wait(self) -> bool:
        """Serve the user as `show` does while no frame comes; after a second the window says so."""
        if self._latest is None:
            return True
        moment, frame = self._latest
        if (silent := time.monotonic() - moment) >= _SILENT_SECONDS:
            frame = frame.copy()
            _label(frame, f"no picture for {silent:.0f} s", 0, _LINE * _unit(frame), _LIGHT)
        return self._shown(frame)

    def _shown(self, frame: faces.Frame) -> bool:
        cv2 = pictures.opencv()
        cv2.imshow(self._title, frame)
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return False
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def rate(self) -> float:
        """Return the calls per second over the last 30 of them; 0 at the first."""
        self._moments.append(time.monotonic())
        passed = self._moments[-1] - self._moments[0]
        return (len(self._moments) - 1) / passed if passed > 0 else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pictures.opencv().destroyAllWindows()

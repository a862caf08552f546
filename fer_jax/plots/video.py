"""Figures of people in a recording."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MultipleLocator
from scipy.special import entr

from fer_jax.labels import VALENCE
from fer_jax.plots import style
from fer_jax.plots.style import BLUE, GREY, ORANGE, Style

# Colours that go with the feeling, after Okabe and Ito but for surprise: their light blue is what
# sad fades to.
EMOTION_COLOURS = {
    **{"angry": ORANGE, "disgust": "#009E73", "fear": "#CC79A7", "happy": "#F0C020", "sad": BLUE},
    **{"surprise": "#7B52AB", "neutral": "#C9C9C9", "contempt": "#6B4E3D"},
}
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 720, 1440)
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, *(60 * minutes for minutes in _MINUTES))  # seconds
Span = tuple[float, float]  # seconds where a recording begins and ends


class Moment(NamedTuple):
    title: str
    frame: np.ndarray  # uint8 RGB [H, W, 3]
    box: Sequence[int]  # x, y, w, h
    face: np.ndarray  # uint8 [48, 48]
    probabilities: np.ndarray  # [C]


class _Looks(NamedTuple):
    times: np.ndarray
    ends: np.ndarray

    def steps(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `values` [N] as stairs: two points a look, and a NaN at its end before a gap."""
        times, ends = self
        last = np.where(np.append(ends[:-1] < times[1:], False), np.nan, values)
        return np.stack([times, ends, ends], 1).ravel(), np.stack([values, values, last], 1).ravel()


def predictions(moments: Sequence[Moment], labels: Sequence[str]) -> Figure:
    """Show each moment's frame with its box, the network's 48x48 input and its probabilities."""
    figure = style.figure(3.1 * len(moments), 5.4, dpi=110)
    grid = figure.subplots(3, len(moments), squeeze=False, height_ratios=(2.2, 1.3, 1.9))
    for (top, middle, bottom), moment in zip(grid.T, moments, strict=True):
        top.imshow(moment.frame)
        top.set_axis_off()
        x, y, width, height = moment.box[:4]
        top.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=ORANGE, linewidth=2))
        top.set_title(moment.title, fontsize=12)
        style.grey_image(middle, moment.face)
        style.bars(bottom, moment.probabilities, labels)
    return figure


def emotion_timeline(
    times: np.ndarray, probabilities: np.ndarray, emotions: Sequence[str], width: float, span: Span
) -> Figure:
    """Draw what one person's face showed: stacked probabilities, valence and uncertainty.

    Nothing is drawn (grey hatching) where the person was not seen. Colours fade where no emotion is
    likely: fully coloured from a largest probability of 0.75, nearly white at an even guess.

    Args:
        times: seconds of this person's looks, increasing, [N >= 1]; of many, give means.
        probabilities: [N, C] in the order of `emotions`, whose unpleasant ones are at the bottom.
        width: seconds for which a look stands; from one and a half times that on, there is a gap.
        span: of the recording.
    """
    figure = style.figure(11, 5.6, dpi=110)
    stacked, valence, doubt = figure.subplots(3, 1, sharex=True, height_ratios=(3.2, 1.5, 1))
    # a look stands until the next one, or for `width` where that is far: frames come off their time
    near = np.append(np.diff(times) < 1.5 * width, False)
    looks = _Looks(times, np.where(near, np.append(times[1:], np.inf), times + width))
    begins = np.append(span[0], looks.ends)
    gaps = np.stack([begins, np.append(times, span[1]) - begins], axis=1)
    gaps = gaps[gaps[:, 1] > 0.5 * width]
    hatching: Style = {"facecolor": "#F3F3F3", "edgecolor": "#D0D0D0", "hatch": "////"}
    for axes in (stacked, valence, doubt):
        axes.broken_barh(gaps, (-2, 4), linewidth=0, zorder=0, **hatching)
    _stack(stacked, looks, probabilities, emotions)
    _valence(valence, looks, probabilities)
    entropy = entr(probabilities).sum(axis=1) / np.log(len(emotions))  # a share of the largest
    x, line = looks.steps(entropy)
    doubt.fill_between(x, 0, line, color=GREY, alpha=0.5, linewidth=0)
    doubt.set(ylim=(0, 1), ylabel="uncertainty", yticks=(0, 0.5, 1))
    style.percent(doubt.yaxis)
    _clock(doubt, span)
    handles, names = stacked.get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside right upper", frameon=False, fontsize=10)
    return figure


def _stack(axes: Axes, looks: _Looks, probabilities: np.ndarray, emotions: Sequence[str]) -> None:
    top = np.zeros(len(probabilities))
    for k in sorted(range(len(emotions)), key=lambda k: VALENCE[k]):
        x, low = looks.steps(top)
        top = top + probabilities[:, k]
        area = {"color": EMOTION_COLOURS[emotions[k]], "label": emotions[k], "linewidth": 0}
        axes.fill_between(x, low, looks.steps(top)[1], **area)
    unsure = (0.75 - probabilities.max(axis=1)) / (0.75 - 1 / len(emotions))
    veil = [(1, 1, 1, alpha) for alpha in 0.7 * np.clip(unsure, 0, 1)]
    lengths = [*zip(looks.times, looks.ends - looks.times, strict=True)]
    axes.broken_barh(lengths, (0, 1), facecolors=veil, linewidth=0, antialiased=False)
    axes.set(ylim=(0, 1), ylabel="probability")
    style.percent(axes.yaxis)
    title = "faded where none is likely, hatched where the face is not seen"
    axes.set_title(f"Probability of each emotion: {title}", fontsize=11)


def _valence(axes: Axes, looks: _Looks, probabilities: np.ndarray) -> None:
    """Draw the mean valence and, as a band, its standard deviation."""
    worth = np.array(VALENCE[: probabilities.shape[1]])
    mean = probabilities @ worth
    deviation = np.sqrt(np.maximum(probabilities @ worth**2 - mean**2, 0))
    x, low = looks.steps(np.clip(mean - deviation, -1, 1))
    high = looks.steps(np.clip(mean + deviation, -1, 1))[1]
    axes.fill_between(x, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(*looks.steps(mean), color=BLUE, linewidth=1.6)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(ylim=(-1, 1), ylabel="valence", yticks=(-1, 0, 1))


def _clock(axes: Axes, span: Span) -> None:
    """Write minutes and seconds (hours if need be) along the shared time axis."""
    length = max(span[1] - span[0], 0.1)
    tick = next((tick for tick in _TICKS if length / tick <= 12), length / 12)

    def text(second: float, _: int) -> str:
        minutes, rest = divmod(round(second, 1), 60)
        hours, minutes = divmod(int(minutes), 60)
        start = f"{hours}:{minutes:02d}:" if hours else f"{minutes}:"
        return start + (f"{rest:04.1f}" if tick < 1 else f"{rest:02.0f}")

    axes.xaxis.set_major_locator(MultipleLocator(tick))
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    axes.set(xlim=(span[0], span[0] + length), xlabel="time in the recording")

"""Colours, marks and parts that several figures share, and how a figure is saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_jax import files

# Okabe & Ito, "Color Universal Design" (2008): told apart by the colour-blind, and in grey
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#4D4D4D"
_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":")
Style = dict[str, Any]  # keywords of matplotlib


ENDINGS = (".png", ".pdf", ".svg")  # of the pictures that `save` is asked for


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path`, whole or not at all, in the format that its suffix names."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary)


def figure(width: float, height: float, dpi: int = 150) -> Figure:
    """Return an empty figure, in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def curve_style(number: int) -> Style:
    """Return the colour and the dashes of a curve, numbered from 0."""
    dashes = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": dashes}


def percent(axis: Axis) -> None:
    """Write shares in [0, 1] as percentages along an axis."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def whole_numbers(axis: Axis) -> None:
    """Put an axis's ticks at round whole numbers."""
    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def tidy(axes: Axes) -> None:
    """Give axes a light grid, without the upper and the right edge."""
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.xaxis.label.set_fontsize(12)
    axes.yaxis.label.set_fontsize(12)


def note(axes: Axes, text: str, place: tuple, offset: tuple, **style: Any) -> None:
    """Write text, grey, at an offset in points from a place (x in data, y as a share)."""
    style = {"xycoords": ("data", "axes fraction"), "color": GREY, "fontsize": 10, **style}
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **style)


def interval(axes: Axes, rows: pd.DataFrame, x: str, colour: str) -> None:
    """Shade what lies between the columns low and high, over the column `x`."""
    axes.fill_between(rows[x], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)


def grey_image(axes: Axes, image: np.ndarray) -> None:
    """Show an image, uint8 [H, W], without a frame."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()


def bars(axes: Axes, probabilities: np.ndarray, labels: Sequence[str]) -> None:
    """Draw probabilities [C] as bars, the largest one in another colour."""
    best = int(np.argmax(probabilities))
    colours = [ORANGE if k == best else BLUE for k in range(len(labels))]
    axes.barh(range(len(labels)), probabilities, color=colours)
    axes.set_yticks(range(len(labels)), labels, fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    percent(axes.xaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10, length=2)

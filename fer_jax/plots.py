"""Data in, matplotlib Figure out: nothing here saves, shows or touches pyplot's global state.

figure = learning_curves(pandas.read_csv("history.csv"), best_epoch=41)
figure.savefig("learning_curves.png")
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_jax import metrics

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common form of colour blindness, and in grey.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#4D4D4D"


class Moment(NamedTuple):
    """One look at a stream: frame uint8 RGB [H, W, 3], box (x, y, w, h), face uint8 [48, 48], probabilities [C]."""

    title: str
    frame: np.ndarray
    box: Sequence[int]
    face: np.ndarray
    probabilities: np.ndarray


def learning_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss and accuracy by epoch, training against hold-out, with the restored epoch marked.

    Args:
        history: one row per epoch: epoch, train_loss, train_accuracy, holdout_loss, holdout_accuracy.
        best_epoch: the epoch whose weights were kept.
    """
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    _curves(loss, history, "loss", best_epoch)
    _curves(accuracy, history, "accuracy", best_epoch)
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.suptitle("Learning curves, FER-2013", fontsize=15)
    note = "Measured in evaluation mode: no dropout, augmentation or label smoothing. Training: on a fixed subset."
    figure.supxlabel(note, fontsize=10, color=_GREY)
    return figure


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """Counts and row percentages of a confusion matrix [C, C] (rows the true class), coloured by row percentage."""
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(8.2, 6.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        share = shares[row, column]
        text = f"{share:.0%}\n{matrix[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", fontsize=10, color="white" if share > 0.5 else "black")
    totals = [f"{label}\n(n = {total:,})" for label, total in zip(labels, matrix.sum(axis=1), strict=True)]
    axes.set_xticks(range(len(labels)), labels, fontsize=11)
    axes.set_yticks(range(len(labels)), totals, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=12)
    axes.set_ylabel("true", fontsize=12)
    axes.set_title(_matrix_title(matrix), fontsize=13)
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), shrink=0.8)
    bar.set_label("share of the true class", fontsize=11)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def reliability_diagram(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Accuracy against confidence in 15 bins of equal mass, of probabilities [N, C] before and after scaling."""
    figure = Figure(figsize=(6.4, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.annotate("as confident as right", (0.06, 0.075), rotation=45, color=_GREY, fontsize=10, rotation_mode="anchor")
    for name, probabilities, colour, marker in (("unscaled", before, _ORANGE, "s"), ("scaled", after, _BLUE, "o")):
        bins = metrics.reliability(labels, probabilities)
        label = f"{name}: calibration error {metrics.calibration_error(bins):.1%}"
        axes.plot(bins.confidence, bins.accuracy, color=colour, marker=marker, linewidth=2, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(f"{len(labels):,} faces in 15 bins of equal mass", fontsize=13)
    axes.set_xlabel("confidence (mean largest probability of the bin)", fontsize=12)
    axes.set_ylabel("accuracy of the bin", fontsize=12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=11)
    return figure


def contact_sheet(images: np.ndarray, titles: Sequence[str], title: str) -> Figure:
    """Images (uint8 [N, H, W], N at least 1), ten in a row, each under its title of up to two lines."""
    _, height, width = images.shape
    columns = min(10, len(images))
    rows = -(-len(images) // columns)
    step_y, step_x, head = round(1.35 * height), round(1.1 * width), round(0.35 * height)
    canvas = np.full((rows * step_y + head + 2, columns * step_x), 255, np.uint8)  # one picture: axes for each are slow
    figure = Figure(figsize=(1.25 * columns, 1.25 * columns * canvas.shape[0] / canvas.shape[1]), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for place, (image, text) in enumerate(zip(images, titles, strict=True)):
        y, x = place // columns * step_y + step_y - height + head, place % columns * step_x + (step_x - width) // 2
        canvas[y : y + height, x : x + width] = image
        axes.text(x, y - 2, text, fontsize=6.5, va="bottom", linespacing=1.1)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255)
    axes.text(1, 1, textwrap.fill(title, 14 * columns), fontsize=9, va="top")
    return figure


def predictions(moments: Sequence[Moment], labels: Sequence[str]) -> Figure:
    """What was seen and what was said, side by side: frame with box, the network's 48x48 input, its probabilities."""
    figure = Figure(figsize=(3.1 * len(moments), 5.4), dpi=110, layout="constrained")
    grid = figure.subplots(3, len(moments), squeeze=False, height_ratios=(2.2, 1.3, 1.9))
    for (top, middle, bottom), moment in zip(grid.T, moments, strict=True):
        top.imshow(moment.frame)
        x, y, width, height = moment.box
        top.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=_ORANGE, linewidth=2))
        top.set_title(moment.title, fontsize=12)
        middle.imshow(moment.face, cmap="gray", vmin=0, vmax=255)
        for axes in (top, middle):
            axes.set_axis_off()
        _bars(bottom, moment.probabilities, labels)
    return figure


def _bars(axes: Axes, probabilities: np.ndarray, labels: Sequence[str]) -> None:
    best = int(np.argmax(probabilities))
    colours = [_ORANGE if k == best else _BLUE for k in range(len(labels))]
    axes.barh(range(len(labels)), probabilities, color=colours)
    axes.set_yticks(range(len(labels)), labels, fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10, length=2)


def _curves(axes: Axes, history: pd.DataFrame, quantity: str, best_epoch: int) -> None:
    epochs = history["epoch"].to_numpy()
    marker = "o" if len(epochs) == 1 else None
    train, holdout = (history[f"{split}_{quantity}"].to_numpy(float) for split in ("train", "holdout"))
    axes.plot(epochs, train, color=_BLUE, linewidth=2, marker=marker)
    axes.plot(epochs, holdout, color=_ORANGE, linewidth=2, marker=marker)
    kept = holdout[epochs == best_epoch][0]
    axes.axvline(best_epoch, color=_GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.plot(best_epoch, kept, "o", color=_ORANGE, markeredgecolor="white", markersize=8, zorder=3)
    _name_curves(axes, epochs[-1], train[-1], holdout[-1])
    value = f"{kept:.1%}" if quantity == "accuracy" else f"{kept:.3f}"
    # A loss falls and an accuracy rises: the one leaves the upper edge free, the other the lower.
    height = 0.08 if quantity == "accuracy" else 0.92
    _name_line(axes, best_epoch, height, f"restored: epoch {best_epoch}\nhold-out {quantity} {value}")
    _tidy(axes)


def _name_curves(axes: Axes, epoch: int, train: float, holdout: float) -> None:
    """Names at the curves' right ends, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    close = abs(train - holdout) < 0.06 * (high - low)
    for name, value, other, colour in (("training", train, holdout, _BLUE), ("hold-out", holdout, train, _ORANGE)):
        push = 0 if not close else 8 if (value, name) > (other, "hold-out") else -8  # points
        style = {"color": colour, "fontsize": 11, "va": "center", "annotation_clip": False}
        axes.annotate(name, (epoch, value), xytext=(6, push), textcoords="offset points", **style)


def _name_line(axes: Axes, epoch: int, height: float, text: str) -> None:
    """Beside the vertical line at `epoch`, on its wider side."""
    left, right = axes.get_xlim()
    offset, align = (-6, "right") if epoch > (left + right) / 2 else (6, "left")
    style = {"color": _GREY, "fontsize": 10, "ha": align, "va": "center"}
    place = {"xycoords": ("data", "axes fraction"), "xytext": (offset, 0), "textcoords": "offset points"}
    axes.annotate(text, (epoch, height), **place, **style)


def _tidy(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.xaxis.label.set_fontsize(12)
    axes.yaxis.label.set_fontsize(12)


def _matrix_title(matrix: np.ndarray) -> str:
    total = int(matrix.sum())
    low, high = metrics.wilson(int(matrix.trace()), total)
    return f"{total:,} faces: accuracy {matrix.trace() / max(total, 1):.1%} (95% interval {low:.1%} to {high:.1%})"

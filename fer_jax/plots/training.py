"""Figures of data, training runs and test-set figures."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_jax.evaluation import calibration, metrics
from fer_jax.plots import style
from fer_jax.plots.style import BLUE, GREEN, GREY, ORANGE, Style


def learning_curves(history: pd.DataFrame, best_epoch: int, restarts: Sequence[int] = ()) -> Figure:
    """Draw loss and accuracy by epoch, training and hold-out, and mark the restored epoch.

    The history has the columns epoch, train_loss, train_accuracy, holdout_loss, holdout_accuracy,
    perhaps holdout_robust_accuracy. After the epochs `restarts` another run went on.
    """
    figure, loss, accuracy = _panels(4.6)
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        for epoch in restarts:
            axes.axvline(epoch + 0.5, color=GREY, linestyle=":", linewidth=1.6, zorder=1)
        _curves(axes, history, quantity, best_epoch)
    if "holdout_robust_accuracy" in history:
        robust = history["holdout_robust_accuracy"]
        accuracy.plot(history["epoch"], robust, color=GREEN, linewidth=2)
        end = (history["epoch"].iloc[-1], robust.iloc[-1])
        _name_curve(accuracy, "hold-out,\nattacked", end, GREEN)
    figure.suptitle("Learning curves, FER-2013", fontsize=15)
    text = "Measured in evaluation mode: no dropout, augmentation or label smoothing."
    text += " Training: on a fixed subset." + (" Dotted: a warm restart." if restarts else "")
    figure.supxlabel(text, fontsize=10, color=GREY)
    return figure


def compared_runs(runs: Mapping[str, tuple[pd.DataFrame, int]]) -> Figure:
    """Draw hold-out loss and accuracy of runs by name, each as its history and its best epoch."""
    figure, loss, accuracy = _panels(4.6 + 0.25 * len(runs))
    for number, (name, (history, best_epoch)) in enumerate(runs.items()):
        curve = style.curve_style(number)
        dot: Style = {"color": curve["color"], "markeredgecolor": "white", "markersize": 9}
        best = history[history["epoch"] == best_epoch]
        for axes, column in ((loss, "holdout_loss"), (accuracy, "holdout_accuracy")):
            axes.plot(history["epoch"], history[column], linewidth=2, **curve)
            axes.plot(best["epoch"], best[column], "o", **dot)
        kept = f"{best['holdout_accuracy'].item():.1%}, loss {best['holdout_loss'].item():.3f}"
        text = f"{name}: {kept} (epoch {best_epoch})"
        loss.plot([], [], linewidth=2, marker="o", label=text, **curve)
    figure.suptitle("Hold-out curves by run; dots: the epoch whose weights were kept", fontsize=14)
    figure.legend(loc="outside lower center", fontsize=10, frameon=False, ncols=min(2, len(runs)))
    return figure


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draw counts and row percentages of a confusion matrix [C, C], whose rows are the truth."""
    matrix = np.asarray(matrix)
    counts = matrix.sum(axis=1)
    shares = matrix / np.maximum(counts[:, None], 1)
    figure = style.figure(8.2, 6.8)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}\n{matrix[row, column]:,}"
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=10, color=colour)
    truths = [f"{label}\n(n = {n:,})" for label, n in zip(labels, counts, strict=True)]
    axes.set_xticks(range(len(labels)), labels, fontsize=11)
    axes.set_yticks(range(len(labels)), truths, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=12)
    axes.set_ylabel("true", fontsize=12)
    total, right = int(matrix.sum()), int(matrix.trace())
    low, high = metrics.wilson(right, total)
    accuracy = f"accuracy {right / max(total, 1):.1%} (95% interval {low:.1%} to {high:.1%})"
    axes.set_title(f"{total:,} faces: {accuracy}", fontsize=13)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    style.percent(bar.ax.yaxis)
    bar.set_label("share of the true class", fontsize=11)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def reliability_diagram(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Draw accuracy against confidence, before and after probabilities [N, C] were scaled."""
    figure = style.figure(6.4, 6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    along = {"rotation": 45, "rotation_mode": "anchor", "color": GREY, "fontsize": 10}
    axes.annotate("as confident as right", (0.06, 0.075), **along)
    curves = [("unscaled", before, ORANGE, "s"), ("scaled", after, BLUE, "o")]
    for name, probabilities, colour, marker in curves:
        bins = calibration.reliability(labels, probabilities)
        label = f"{name}: calibration error {calibration.calibration_error(bins):.1%}"
        line: Style = {"color": colour, "marker": marker, "linewidth": 2, "label": label}
        axes.plot(bins.confidence, bins.accuracy, **line)
    style.tidy(axes)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel="accuracy of the bin")
    axes.set(xlabel="confidence (mean largest probability of the bin)")
    axes.set_title(f"{len(labels):,} faces in 15 bins of equal mass", fontsize=13)
    style.percent(axes.xaxis)
    style.percent(axes.yaxis)
    axes.legend(loc="lower right", frameon=False, fontsize=11)
    return figure


def contact_sheet(images: np.ndarray, titles: Sequence[str], title: str) -> Figure:
    """Show images, uint8 [N, H, W] with N >= 1, ten in a row, under titles of up to two lines."""
    _, height, width = images.shape
    columns = min(10, len(images))
    rows = -(-len(images) // columns)
    step_y, step_x, head = round(1.35 * height), round(1.1 * width), round(0.35 * height)
    canvas = np.full((rows * step_y + head + 2, columns * step_x), 255, np.uint8)  # axes are slow
    wide = 1.25 * columns
    figure = Figure(figsize=(wide, wide * canvas.shape[0] / canvas.shape[1]), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    for place, (image, text) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(place, columns)
        y = row * step_y + step_y - height + head
        x = column * step_x + (step_x - width) // 2
        canvas[y : y + height, x : x + width] = image
        axes.text(x, y - 2, text, fontsize=6.5, va="bottom", linespacing=1.1)
    style.grey_image(axes, canvas)
    axes.text(1, 1, textwrap.fill(title, 14 * columns), fontsize=9, va="top")
    return figure


def _panels(height: float) -> tuple[Figure, Axes, Axes]:
    """Return a figure, and its axes for loss and accuracy by epoch."""
    figure = style.figure(11, height)
    loss, accuracy = figure.subplots(1, 2)
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        style.whole_numbers(axes.xaxis)
        style.tidy(axes)
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy")
    style.percent(accuracy.yaxis)
    return figure, loss, accuracy


def _curves(axes: Axes, history: pd.DataFrame, quantity: str, best_epoch: int) -> None:
    epochs = history["epoch"].to_numpy()
    marker = "o" if len(epochs) == 1 else None
    train = history[f"train_{quantity}"].to_numpy(float)
    holdout = history[f"holdout_{quantity}"].to_numpy(float)
    axes.plot(epochs, train, color=BLUE, linewidth=2, marker=marker)
    axes.plot(epochs, holdout, color=ORANGE, linewidth=2, marker=marker)
    kept = holdout[epochs == best_epoch][0]
    axes.axvline(best_epoch, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.plot(best_epoch, kept, "o", color=ORANGE, markeredgecolor="white", markersize=8, zorder=3)
    low, high = axes.get_ylim()
    push = 0  # points, by which names that would overlap are moved apart
    if abs(train[-1] - holdout[-1]) < 0.06 * (high - low):
        push = 8 if train[-1] >= holdout[-1] else -8
    _name_curve(axes, "training", (epochs[-1], train[-1]), BLUE, push)
    _name_curve(axes, "hold-out", (epochs[-1], holdout[-1]), ORANGE, -push)
    value = f"{kept:.1%}" if quantity == "accuracy" else f"{kept:.3f}"
    # A loss falls and an accuracy rises: the one leaves the upper edge free, the other the lower.
    height = 0.08 if quantity == "accuracy" else 0.92
    text = f"restored: epoch {best_epoch}\nhold-out {quantity} {value}"
    left, right = axes.get_xlim()
    # on the wider side of the vertical line
    offset, align = (-6, "right") if best_epoch > (left + right) / 2 else (6, "left")
    style.note(axes, text, (best_epoch, height), (offset, 0), ha=align, va="center")


def _name_curve(axes: Axes, name: str, end: tuple, colour: str, push: float = 0) -> None:
    text = {"xycoords": "data", "color": colour, "fontsize": 11, "annotation_clip": False}
    style.note(axes, name, end, (6, push), va="center", **text)

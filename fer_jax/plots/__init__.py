"""Data in, matplotlib Figure out: no plot saves, shows or touches pyplot's global state.

figure = learning_curves(pandas.read_csv("history.csv"), best_epoch=41)
save(figure, Path("learning_curves.png"))
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import (
    AutoLocator,
    FuncFormatter,
    MaxNLocator,
    MultipleLocator,
    PercentFormatter,
)
from scipy.special import entr

from fer_jax.evaluation import metrics
from fer_jax.labels import VALENCE
from fer_jax.plots.style import save as save

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common form of colour
# blindness, and in grey.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#4D4D4D"
_COLOURS = (_BLUE, _ORANGE, _GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":")
# Colours that go with the feeling, after Okabe and Ito but for surprise: their light blue is what
# sad fades to.
EMOTION_COLOURS = {
    **{"angry": _ORANGE, "disgust": "#009E73", "fear": "#CC79A7", "happy": "#F0C020", "sad": _BLUE},
    **{"surprise": "#7B52AB", "neutral": "#C9C9C9", "contempt": "#6B4E3D"},
}
# seconds
_TICKS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    43200,
    86400,
)


class Moment(NamedTuple):
    """One look at a stream: frame uint8 RGB [H, W, 3], box (x, y, w, h), face uint8 [48, 48],
    probabilities [C].
    """

    title: str
    frame: np.ndarray
    box: Sequence[int]
    face: np.ndarray
    probabilities: np.ndarray


def learning_curves(history: pd.DataFrame, best_epoch: int, restarts: Sequence[int] = ()) -> Figure:
    """Loss and accuracy by epoch, training against hold-out, with the restored epoch marked.

    Args:
        history: one row per epoch: epoch, train_loss, train_accuracy, holdout_loss,
            holdout_accuracy, and of adversarial training holdout_robust_accuracy.
        best_epoch: the epoch whose weights were kept.
        restarts: epochs after which another run went on from the weights of the one before.
    """
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        for epoch in restarts:
            axes.axvline(epoch + 0.5, color=_GREY, linestyle=":", linewidth=1.6, zorder=1)
        _curves(axes, history, quantity, best_epoch)
    if "holdout_robust_accuracy" in history:
        robust = history["holdout_robust_accuracy"]
        accuracy.plot(history["epoch"], robust, color=_GREEN, linewidth=2)
        style = {"color": _GREEN, "fontsize": 11, "va": "center", "annotation_clip": False}
        last = history["epoch"].iloc[-1], robust.iloc[-1]
        accuracy.annotate(
            "hold-out,\nattacked", last, xytext=(6, 0), textcoords="offset points", **style
        )
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.suptitle("Learning curves, FER-2013", fontsize=15)
    note = "Measured in evaluation mode: no dropout, augmentation or label smoothing. Training: on a fixed subset."
    note += " Dotted: a warm restart." if restarts else ""
    figure.supxlabel(note, fontsize=10, color=_GREY)
    return figure


def compared_runs(runs: Mapping[str, tuple[pd.DataFrame, int]]) -> Figure:
    """Hold-out loss and accuracy by epoch, one colour per run, with its best epoch marked.

    Args:
        runs: by name, a history (one row per epoch: epoch, holdout_loss, holdout_accuracy) and its
            best epoch.
    """
    figure = Figure(figsize=(11, 4.6 + 0.25 * len(runs)), dpi=150, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for number, (name, (history, best_epoch)) in enumerate(runs.items()):
        style = {
            "color": _COLOURS[number % len(_COLOURS)],
            "linestyle": _DASHES[number // len(_COLOURS) % len(_DASHES)],
        }
        best = history[history["epoch"] == best_epoch]
        for axes, column in ((loss, "holdout_loss"), (accuracy, "holdout_accuracy")):
            axes.plot(history["epoch"], history[column], linewidth=2, **style)
            axes.plot(
                best["epoch"],
                best[column],
                "o",
                color=style["color"],
                markeredgecolor="white",
                markersize=9,
            )
        text = f"{name}: {best['holdout_accuracy'].item():.1%}, loss {best['holdout_loss'].item():.3f} (epoch {best_epoch})"
        loss.plot([], [], linewidth=2, marker="o", label=text, **style)
    for axes in (loss, accuracy):
        _tidy(axes)
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.suptitle("Hold-out curves by run; dots: the epoch whose weights were kept", fontsize=14)
    figure.legend(loc="outside lower center", fontsize=10, frameon=False, ncols=min(2, len(runs)))
    return figure


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """Counts and row percentages of a confusion matrix [C, C] (rows the true class), coloured by
    row percentage.
    """
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(8.2, 6.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        share = shares[row, column]
        text = f"{share:.0%}\n{matrix[row, column]:,}"
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=10,
            color="white" if share > 0.5 else "black",
        )
    totals = [
        f"{label}\n(n = {total:,})" for label, total in zip(labels, matrix.sum(axis=1), strict=True)
    ]
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


def robust_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy against eps, one curve per stage of an attack, each with what the stages before it
    had broken.

    Args:
        table: one row per eps and stage, in the order in which they ran: eps, stage, accuracy, low,
            high; stage "clean", the accuracy before all, is where every curve begins, at eps 0.
    """
    clean = table.loc[table["stage"] == "clean"].head(1).assign(eps=0.0)
    stages = table[table["stage"] != "clean"].groupby("stage", sort=False)
    curves = {
        str(stage): pd.DataFrame(pd.concat([clean, rows], ignore_index=True))
        for stage, rows in stages
    }
    return accuracy_over_eps(curves, title)


def accuracy_over_eps(curves: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Curves by name, each with the columns eps, accuracy, low, high."""
    figure = Figure(figsize=(7.2, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, (name, rows) in enumerate(curves.items()):
        colour, levels = _COLOURS[number % len(_COLOURS)], rows["eps"].to_numpy()
        axes.fill_between(levels, rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(levels, rows["accuracy"], marker="o", color=colour, linewidth=2, label=name)
    axes.set(ylim=(0, 1))
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _tidy(axes)
    axes.xaxis.set_major_locator(AutoLocator())
    axes.set_xlabel("eps", fontsize=12)
    axes.set_ylabel("accuracy", fontsize=12)
    axes.set_title(title, fontsize=13)
    axes.legend(frameon=False, fontsize=11)
    return figure


def reliability_diagram(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Accuracy against confidence in 15 bins of equal mass, of probabilities [N, C] before and
    after scaling.
    """
    figure = Figure(figsize=(6.4, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.annotate(
        "as confident as right",
        (0.06, 0.075),
        rotation=45,
        color=_GREY,
        fontsize=10,
        rotation_mode="anchor",
    )
    for name, probabilities, colour, marker in (
        ("unscaled", before, _ORANGE, "s"),
        ("scaled", after, _BLUE, "o"),
    ):
        bins = metrics.reliability(labels, probabilities)
        label = f"{name}: calibration error {metrics.calibration_error(bins):.1%}"
        axes.plot(
            bins.confidence, bins.accuracy, color=colour, marker=marker, linewidth=2, label=label
        )
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
    """Images (uint8 [N, H, W], N at least 1), ten in a row, each under its title of up to two
    lines.
    """
    _, height, width = images.shape
    columns = min(10, len(images))
    rows = -(-len(images) // columns)
    step_y, step_x, head = round(1.35 * height), round(1.1 * width), round(0.35 * height)
    # one picture: axes for each are slow
    canvas = np.full((rows * step_y + head + 2, columns * step_x), 255, np.uint8)
    figure = Figure(
        figsize=(1.25 * columns, 1.25 * columns * canvas.shape[0] / canvas.shape[1]), dpi=110
    )
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for place, (image, text) in enumerate(zip(images, titles, strict=True)):
        y, x = (
            place // columns * step_y + step_y - height + head,
            place % columns * step_x + (step_x - width) // 2,
        )
        canvas[y : y + height, x : x + width] = image
        axes.text(x, y - 2, text, fontsize=6.5, va="bottom", linespacing=1.1)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255)
    axes.text(1, 1, textwrap.fill(title, 14 * columns), fontsize=9, va="top")
    return figure


def predictions(moments: Sequence[Moment], labels: Sequence[str]) -> Figure:
    """What was seen and what was said, side by side: frame with box, the network's 48x48 input, its
    probabilities.
    """
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


def adversarial(
    original: np.ndarray,
    hacked: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str],
) -> Figure:
    """An attack side by side: original, amplified perturbation, hacked image, and what the network
    says of either.

    Args:
        original, hacked: uint8 [H, W].
        before, after: probabilities [C] in the order of `labels`.
    """
    delta = hacked.astype(int) - original
    largest = max(int(np.abs(delta).max()), 1)
    figure = Figure(figsize=(12.5, 6.6), dpi=110, layout="constrained")
    grid = figure.subplots(2, 3, height_ratios=(1.5, 1))
    for axes, image in ((grid[0, 0], original), (grid[0, 2], hacked)):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    shown = grid[0, 1].imshow(delta, cmap="RdBu_r", vmin=-largest, vmax=largest)
    bar = figure.colorbar(shown, ax=grid[0, 1], shrink=0.75)
    bar.set_label("grey levels of 255", fontsize=11)
    grid[0, 1].set_title(f"+ perturbation, shown {127 / largest:.0f} times as strong", fontsize=12)
    for axes, name, said in ((grid[0, 0], "original", before), (grid[0, 2], "= hacked", after)):
        axes.set_title(
            f"{name}: {labels[int(said.argmax())].capitalize()} {said.max():.1%}", fontsize=13
        )
    for axes in grid[0]:
        axes.set_axis_off()
    grid[1, 1].set_axis_off()
    note = f"largest change {largest} of 255 levels\nmean change {np.abs(delta).mean():.2f} levels"
    grid[1, 1].text(0.5, 0.5, note, ha="center", va="center", fontsize=12, color=_GREY)
    _bars(grid[1, 0], before, labels)
    _bars(grid[1, 2], after, labels)
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
    train, holdout = (
        history[f"{split}_{quantity}"].to_numpy(float) for split in ("train", "holdout")
    )
    axes.plot(epochs, train, color=_BLUE, linewidth=2, marker=marker)
    axes.plot(epochs, holdout, color=_ORANGE, linewidth=2, marker=marker)
    kept = holdout[epochs == best_epoch][0]
    axes.axvline(best_epoch, color=_GREY, linestyle="--", linewidth=1.2, zorder=1)
    axes.plot(best_epoch, kept, "o", color=_ORANGE, markeredgecolor="white", markersize=8, zorder=3)
    _name_curves(axes, epochs[-1], train[-1], holdout[-1])
    value = f"{kept:.1%}" if quantity == "accuracy" else f"{kept:.3f}"
    # A loss falls and an accuracy rises: the one leaves the upper edge free, the other the lower.
    height = 0.08 if quantity == "accuracy" else 0.92
    _name_line(
        axes, best_epoch, height, f"restored: epoch {best_epoch}\nhold-out {quantity} {value}"
    )
    _tidy(axes)


def _name_curves(axes: Axes, epoch: int, train: float, holdout: float) -> None:
    """Names at the curves' right ends, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    close = abs(train - holdout) < 0.06 * (high - low)
    for name, value, other, colour in (
        ("training", train, holdout, _BLUE),
        ("hold-out", holdout, train, _ORANGE),
    ):
        push = 0 if not close else 8 if (value, name) > (other, "hold-out") else -8  # points
        style = {"color": colour, "fontsize": 11, "va": "center", "annotation_clip": False}
        axes.annotate(name, (epoch, value), xytext=(6, push), textcoords="offset points", **style)


def _name_line(axes: Axes, epoch: int, height: float, text: str) -> None:
    """Beside the vertical line at `epoch`, on its wider side."""
    left, right = axes.get_xlim()
    offset, align = (-6, "right") if epoch > (left + right) / 2 else (6, "left")
    style = {"color": _GREY, "fontsize": 10, "ha": align, "va": "center"}
    place = {
        "xycoords": ("data", "axes fraction"),
        "xytext": (offset, 0),
        "textcoords": "offset points",
    }
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


def emotion_timeline(
    times: np.ndarray,
    probabilities: np.ndarray,
    emotions: Sequence[str],
    width: float,
    span: tuple[float, float],
) -> Figure:
    """What one person's face showed: probabilities stacked, unpleasant at the bottom; valence;
    uncertainty.

    Nothing is drawn (grey hatching) where the person was not seen. Colours fade where no emotion is
    likely: fully coloured from a largest probability of 0.75, nearly white at an even guess.

    Args:
        times: seconds of this person's looks, increasing, [N], N at least 1; of more than there are
            pixels, give means.
        probabilities: [N, C] in the order of `emotions`, rows summing to 1.
        width: seconds for which a look stands; looks that are one and a half times as far apart
            have a gap between them.
        span: seconds where the recording begins and ends.
    """
    figure = Figure(figsize=(11, 5.6), dpi=110, layout="constrained")
    stacked, valence, doubt = figure.subplots(3, 1, sharex=True, height_ratios=(3.2, 1.5, 1))
    for axes in (stacked, valence, doubt):
        _shade_gaps(axes, times, width, span)
    _stack(stacked, times, probabilities, emotions, width)
    _valence(valence, times, probabilities, width)
    _uncertainty(doubt, times, probabilities, width)
    _clock(doubt, span)
    handles, names = stacked.get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside right upper", frameon=False, fontsize=10)
    return figure


def _ends(times: np.ndarray, width: float) -> np.ndarray:
    """Until when each look stands: the next one, or `width` where that is a gap (frames come a
    little off their time).
    """
    return np.append(
        np.where(np.diff(times) < 1.5 * width, times[1:], times[:-1] + width), times[-1] + width
    )


def _steps(times: np.ndarray, values: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """`values` [N] as stairs: two points a look, and a NaN at its end where a gap begins."""
    ends = _ends(times, width)
    gap = np.append(ends[:-1] < times[1:], False)
    x = np.stack([times, ends, ends], axis=1)
    y = np.stack([values, values, np.where(gap, np.nan, values)], axis=1)
    return x.ravel(), y.ravel()


def _shade_gaps(axes: Axes, times: np.ndarray, width: float, span: tuple[float, float]) -> None:
    begins, ends = np.append(times, span[1]), np.append(span[0], _ends(times, width))
    gaps = [
        (end, begin - end)
        for begin, end in zip(begins, ends, strict=True)
        if begin - end > 0.5 * width
    ]
    axes.broken_barh(
        gaps, (-2, 4), facecolor="#F3F3F3", edgecolor="#D0D0D0", hatch="////", linewidth=0, zorder=0
    )


def _stack(
    axes: Axes, times: np.ndarray, probabilities: np.ndarray, emotions: Sequence[str], width: float
) -> None:
    base = np.zeros(len(times))
    for k in sorted(range(len(emotions)), key=lambda k: VALENCE[k]):
        x, low = _steps(times, base, width)
        base = base + probabilities[:, k]
        colour = EMOTION_COLOURS[emotions[k]]
        axes.fill_between(
            x, low, _steps(times, base, width)[1], color=colour, linewidth=0, label=emotions[k]
        )
    chance, sure = 1 / len(emotions), 0.75
    fade = 0.7 * np.clip((sure - probabilities.max(axis=1)) / (sure - chance), 0, 1)
    looks = list(zip(times, _ends(times, width) - times, strict=True))
    axes.broken_barh(
        looks,
        (0, 1),
        facecolors=[(1, 1, 1, alpha) for alpha in fade],
        linewidth=0,
        antialiased=False,
    )
    axes.set(ylim=(0, 1), ylabel="probability")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    title = "Probability of each emotion: faded where none is likely, hatched where the face is not seen"
    axes.set_title(title, fontsize=11)


def _valence(axes: Axes, times: np.ndarray, probabilities: np.ndarray, width: float) -> None:
    """The mean of the emotions' valence and, as a band, its standard deviation, under the
    probabilities.
    """
    worth = np.array(VALENCE[: probabilities.shape[1]])
    mean = probabilities @ worth
    deviation = np.sqrt(np.maximum(probabilities @ worth**2 - mean**2, 0))
    x, line = _steps(times, mean, width)
    low, high = (
        _steps(times, np.clip(mean + sign * deviation, -1, 1), width)[1] for sign in (-1, 1)
    )
    axes.fill_between(x, low, high, color=_BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, line, color=_BLUE, linewidth=1.6)
    axes.axhline(0, color=_GREY, linewidth=0.8)
    axes.set(ylim=(-1, 1), ylabel="valence", yticks=(-1, 0, 1))


def _uncertainty(axes: Axes, times: np.ndarray, probabilities: np.ndarray, width: float) -> None:
    """Entropy as a share of the largest possible."""
    x, line = _steps(times, entr(probabilities).sum(axis=1) / np.log(probabilities.shape[1]), width)
    axes.fill_between(x, 0, line, color=_GREY, alpha=0.5, linewidth=0)
    axes.set(ylim=(0, 1), ylabel="uncertainty", yticks=(0, 0.5, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _clock(axes: Axes, span: tuple[float, float]) -> None:
    """Minutes and seconds (hours if need be) along the shared time axis."""
    length = max(span[1] - span[0], 0.1)
    tick = next((tick for tick in _TICKS if length / tick <= 12), length / 12)

    def text(second: float, _: int) -> str:
        minutes, rest = divmod(round(second, 1), 60)
        hours, minutes = divmod(int(minutes), 60)
        return (f"{hours}:{minutes:02d}:" if hours else f"{minutes}:") + (
            f"{rest:04.1f}" if tick < 1 else f"{rest:02.0f}"
        )

    axes.xaxis.set_major_locator(MultipleLocator(tick))
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    axes.set(xlim=(span[0], span[0] + length), xlabel="time in the recording")


def certified_accuracy(curve: pd.DataFrame, largest: float, title: str) -> Figure:
    """The share of images certified beyond each radius, and the radius beyond which the number of
    samples ends it.

    Args:
        curve: one row per radius, increasing: radius, accuracy, low, high.
        largest: the radius that is certified if all noisy copies agree; nothing is drawn beyond it.
    """
    curve = curve.loc[curve["radius"] <= largest]
    figure = Figure(figsize=(7.2, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.fill_between(
        curve["radius"], curve["low"], curve["high"], color=_BLUE, alpha=0.15, linewidth=0
    )
    axes.plot(curve["radius"], curve["accuracy"], color=_BLUE, linewidth=2)
    axes.set(ylim=(0, 1))
    axes.set_xlim(0, 1.02 * largest)
    axes.axvline(largest, color=_GREY, linestyle="--", linewidth=1.2, zorder=1)
    place = {
        "xycoords": ("data", "axes fraction"),
        "xytext": (-6, 0),
        "textcoords": "offset points",
        "ha": "right",
    }
    axes.annotate("all noisy copies agree", (largest, 0.96), color=_GREY, fontsize=10, **place)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _tidy(axes)
    axes.xaxis.set_major_locator(AutoLocator())
    axes.set_xlabel("radius (L2, pixels in [0, 1])", fontsize=12)
    axes.set_ylabel("certified accuracy", fontsize=12)
    axes.set_title(title, fontsize=13)
    return figure


def corruption_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy against severity, a panel for each corruption and a first one for their mean, a
    curve for each model.

    Args:
        table: one row per model, corruption and severity: model, corruption, severity, accuracy,
            low, high; severity 0, once per model, is the clean accuracy, where every curve begins.
    """
    clean, worse = table.loc[table["severity"] == 0], table.loc[table["severity"] > 0]
    kinds = list(worse["corruption"].unique())
    figure = Figure(
        figsize=(11, 2.3 * -(-(len(kinds) + 1) // 4) + 0.8), dpi=150, layout="constrained"
    )
    panels = figure.subplots(-(-(len(kinds) + 1) // 4), 4, sharex=True, sharey=True).ravel()
    for number, name in enumerate(clean["model"]):
        begin, own = clean.loc[clean["model"] == name], worse.loc[worse["model"] == name]
        mean = own.groupby("severity", as_index=False)["accuracy"].mean()
        style = {
            "color": _COLOURS[number % len(_COLOURS)],
            "linestyle": _DASHES[number // len(_COLOURS) % len(_DASHES)],
        }
        for axes, rows in zip(
            panels, (mean, *(own.loc[own["corruption"] == kind] for kind in kinds)), strict=False
        ):
            rows = pd.concat([begin.drop(columns="corruption"), rows], ignore_index=True)
            axes.plot(
                rows["severity"],
                rows["accuracy"],
                linewidth=2,
                marker="o",
                markersize=3.5,
                label=name,
                **style,
            )
            if "corruption" in rows:
                axes.fill_between(
                    rows["severity"],
                    rows["low"],
                    rows["high"],
                    color=style["color"],
                    alpha=0.15,
                    linewidth=0,
                )
    for axes, kind in zip(panels, ("mean of all", *kinds), strict=False):
        _tidy(axes)
        axes.set(ylim=(0, 1), xlabel="")
        axes.set_title(kind, fontsize=11)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in panels[len(kinds) + 1 :]:
        axes.set_axis_off()
    figure.suptitle(f"Accuracy under corruptions, {title}", fontsize=13)
    for axes in panels[-4:]:
        axes.set_xlabel("severity (0: clean)", fontsize=10)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        frameon=False,
        ncols=4,
        fontsize=10,
    )
    return figure


class Explanation(NamedTuple):
    """What one network said of a face and why, the maps float [H, W] as `explain` makes them."""

    title: str
    saliency: np.ndarray
    integrated: np.ndarray
    grad_cam: np.ndarray


def explanations(face: np.ndarray, rows: Sequence[Explanation]) -> Figure:
    """A face, uint8 [H, W], and what each network looked at in it, a row per network.

    Each map has a scale of its own, up to the size that one pixel in 200 exceeds: single pixels
    would dim all others.
    """
    figure = Figure(figsize=(10.4, 2.9 * len(rows) + 0.3), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for number, (panels, row) in enumerate(zip(grid, rows, strict=True)):
        picture, saliency, integrated, cam = panels
        picture.imshow(face, cmap="gray", vmin=0, vmax=255)
        saliency.imshow(_scaled(row.saliency), cmap="magma", vmin=0, vmax=1)
        integrated.imshow(_scaled(row.integrated), cmap="RdBu_r", vmin=-1, vmax=1)
        cam.imshow(face, cmap="gray", vmin=0, vmax=255)
        shares = _scaled(row.grad_cam)
        cam.imshow(shares, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * shares)
        picture.set_title(row.title, fontsize=11)
        names = ("saliency", "integrated gradients\n(red: for, blue: against)", "Grad-CAM")
        for axes, name in zip(panels[1:], names, strict=True):
            axes.set_title(name if number == 0 else "", fontsize=11)
        for axes in panels:
            axes.set_axis_off()
    return figure


def _scaled(values: np.ndarray) -> np.ndarray:
    """In [-1, 1]: the size that one value in 200 exceeds becomes 1, larger ones too."""
    return np.clip(values / max(float(np.quantile(np.abs(values), 0.995)), 1e-12), -1, 1)

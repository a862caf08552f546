"""Figures of attacks, certificates, corruptions and explanations."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_jax.plots import style
from fer_jax.plots.style import BLUE, GREY


class Explanation(NamedTuple):
    title: str
    saliency: np.ndarray  # this and the other maps are float [H, W], as `explain` makes them
    integrated: np.ndarray
    grad_cam: np.ndarray


def robust_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Draw accuracy against eps after each stage of an attack and the stages before it.

    The table has one row per eps and stage, in the order in which they ran: eps, stage, accuracy,
    low, high. Every curve begins at eps 0 with stage "clean", the accuracy before all.
    """
    clean = table.loc[table["stage"] == "clean"].head(1).assign(eps=0.0)
    stages = table[table["stage"] != "clean"].groupby("stage", sort=False)
    curves = {str(stage): pd.DataFrame(pd.concat([clean, rows])) for stage, rows in stages}
    return accuracy_over_eps(curves, title)


def accuracy_over_eps(curves: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw curves by name, each with the columns eps, accuracy, low, high."""
    figure, axes = _share(title, "eps", "accuracy")
    for number, (name, rows) in enumerate(curves.items()):
        colour = style.curve_style(number)["color"]
        style.interval(axes, rows, "eps", colour)
        line = {"color": colour, "marker": "o", "linewidth": 2, "label": name}
        axes.plot(rows["eps"], rows["accuracy"], **line)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=11)
    return figure


def certified_accuracy(curve: pd.DataFrame, largest: float, title: str) -> Figure:
    """Draw the share of images certified beyond each radius: radius, accuracy, low, high.

    Radii increase. `largest` is certified if all noisy copies agree; nothing is drawn beyond it.
    """
    curve = curve.loc[curve["radius"] <= largest]
    figure, axes = _share(title, "radius (L2, pixels in [0, 1])", "certified accuracy")
    style.interval(axes, curve, "radius", BLUE)
    axes.plot(curve["radius"], curve["accuracy"], color=BLUE, linewidth=2)
    axes.set_xlim(0, 1.02 * largest)
    axes.axvline(largest, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    style.note(axes, "all noisy copies agree", (largest, 0.96), (-6, 0), ha="right")
    return figure


def corruption_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Draw accuracy against severity: a panel per corruption after one of their mean.

    The table has the columns model, corruption, severity, accuracy, low, high. Severity 0, once per
    model, is the clean accuracy, where every curve begins. `title` ends the figure's.
    """
    clean, worse = table.loc[table["severity"] == 0], table.loc[table["severity"] > 0]
    kinds = list(worse["corruption"].unique())
    lines = -(-(len(kinds) + 1) // 4)
    figure = style.figure(11, 2.3 * lines + 0.8)
    panels = figure.subplots(lines, 4, sharex=True, sharey=True).ravel()
    for number, name in enumerate(clean["model"]):
        begin, own = clean.loc[clean["model"] == name], worse.loc[worse["model"] == name]
        mean = own.groupby("severity", as_index=False)["accuracy"].mean()
        curve = style.curve_style(number)
        line = {"linewidth": 2, "marker": "o", "markersize": 3.5, "label": name, **curve}
        parts = [mean, *(own.loc[own["corruption"] == kind] for kind in kinds)]
        for axes, rows in zip(panels, parts, strict=False):
            rows = pd.concat([begin.drop(columns="corruption"), rows], ignore_index=True)
            axes.plot(rows["severity"], rows["accuracy"], **line)
            if "corruption" in rows:
                style.interval(axes, rows, "severity", curve["color"])
    for axes, kind in zip(panels, ("mean of all", *kinds), strict=False):
        style.tidy(axes)
        style.whole_numbers(axes.xaxis)
        style.percent(axes.yaxis)
        axes.set(ylim=(0, 1))
        axes.set_title(kind, fontsize=11)
    for axes in panels[len(kinds) + 1 :]:
        axes.set_axis_off()
    figure.suptitle(f"Accuracy under corruptions, {title}", fontsize=13)
    for axes in panels[-4:]:
        axes.set_xlabel("severity (0: clean)", fontsize=10)
    place = {"loc": "outside lower center", "frameon": False, "ncols": 4, "fontsize": 10}
    figure.legend(*panels[0].get_legend_handles_labels(), **place)
    return figure


def adversarial(
    original: np.ndarray,
    hacked: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str],
) -> Figure:
    """Show two images, uint8 [H, W], the amplified change, and their probabilities of `labels`."""
    delta = hacked.astype(int) - original
    largest = max(int(np.abs(delta).max()), 1)
    figure = style.figure(12.5, 6.6, dpi=110)
    upper, (left_bars, text, right_bars) = figure.subplots(2, 3, height_ratios=(1.5, 1))
    left, change, right = upper
    shown = change.imshow(delta, cmap="RdBu_r", vmin=-largest, vmax=largest)
    bar = figure.colorbar(shown, ax=change, shrink=0.75)
    bar.set_label("grey levels of 255", fontsize=11)
    change.set_title(f"+ perturbation, shown {127 / largest:.0f} times as strong", fontsize=12)
    change.set_axis_off()
    text.set_axis_off()
    words = f"largest change {largest} of 255 levels\nmean change {np.abs(delta).mean():.2f} levels"
    text.text(0.5, 0.5, words, ha="center", va="center", fontsize=12, color=GREY)
    sides = [(left, left_bars, original, "original", before)]
    sides += [(right, right_bars, hacked, "= hacked", after)]
    for axes, beneath, image, name, probabilities in sides:
        style.grey_image(axes, image)
        emotion = labels[int(probabilities.argmax())].capitalize()
        axes.set_title(f"{name}: {emotion} {probabilities.max():.1%}", fontsize=13)
        style.bars(beneath, probabilities, labels)
    return figure


def explanations(face: np.ndarray, rows: Sequence[Explanation]) -> Figure:
    """Show a face, uint8 [H, W], and what each network looked at in it, a row per network.

    Each map has a scale of its own, up to the size that one pixel in 200 exceeds: single pixels
    would dim all others.
    """
    figure = style.figure(10.4, 2.9 * len(rows) + 0.3, dpi=110)
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for (picture, saliency, integrated, cam), row in zip(grid, rows, strict=True):
        style.grey_image(picture, face)
        saliency.imshow(_scaled(row.saliency), cmap="magma", vmin=0, vmax=1)
        integrated.imshow(_scaled(row.integrated), cmap="RdBu_r", vmin=-1, vmax=1)
        style.grey_image(cam, face)
        shares = _scaled(row.grad_cam)
        cam.imshow(shares, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * shares)
        picture.set_title(row.title, fontsize=11)
        saliency.set_axis_off()
        integrated.set_axis_off()
    names = ("saliency", "integrated gradients\n(red: for, blue: against)", "Grad-CAM")
    for axes, name in zip(grid[0, 1:], names, strict=True):
        axes.set_title(name, fontsize=11)
    return figure


def _share(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Return a figure and its only axes, whose ordinate is a share."""
    figure = style.figure(7.2, 5)
    axes = figure.subplots()
    style.tidy(axes)
    style.percent(axes.yaxis)
    axes.set(ylim=(0, 1), xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=13)
    return figure, axes


def _scaled(values: np.ndarray) -> np.ndarray:
    """Scale to [-1, 1]: the size that one value in 200 exceeds becomes 1, larger ones too."""
    return np.clip(values / max(float(np.quantile(np.abs(values), 0.995)), 1e-12), -1, 1)

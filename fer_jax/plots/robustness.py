"""Figures of attacks, certificates, corruptions and explanations."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_jax.plots import style
from fer_jax.plots.style import BLUE, GREY


def robust_accuracy(table: pd.DataFrame, title: str) -> Figure:
    """Draw accuracy against eps after each stage of an attack and the stages before it.

    Columns, with stages as they ran: eps, stage, accuracy, low, high. The first stage is "clean".
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
    """Draw radius, accuracy, low, high up to what is certified if all noisy copies agree."""
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

    Columns: model, corruption, severity, accuracy, low, high; severity 0, once a model, is clean.
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


def adversarial(images: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> Figure:
    """Show an image before and after, uint8 [2, H, W], the change, and the probabilities [2, C]."""
    delta = images[1].astype(int) - images[0]
    largest = max(int(np.abs(delta).max()), 1)
    figure = style.figure(12.5, 6.6, dpi=110)
    upper, lower = figure.subplots(2, 3, height_ratios=(1.5, 1))
    change, text = upper[1], lower[1]
    shown = change.imshow(delta, cmap="RdBu_r", vmin=-largest, vmax=largest)
    bar = figure.colorbar(shown, ax=change, shrink=0.75)
    bar.set_label("grey levels of 255", fontsize=11)
    change.set_title(f"+ perturbation, shown {127 / largest:.0f} times as strong", fontsize=12)
    change.set_axis_off()
    text.set_axis_off()
    words = f"largest change {largest} of 255 levels\nmean change {np.abs(delta).mean():.2f} levels"
    text.text(0.5, 0.5, words, ha="center", va="center", fontsize=12, color=GREY)
    for k, name in enumerate(("original", "= hacked")):
        style.grey_image(upper[2 * k], images[k])
        emotion = labels[int(probabilities[k].argmax())].capitalize()
        upper[2 * k].set_title(f"{name}: {emotion} {probabilities[k].max():.1%}", fontsize=13)
        style.bars(lower[2 * k], probabilities[k], labels)
    return figure


def explanations(face: np.ndarray, rows: Sequence[tuple[str, list[np.ndarray]]]) -> Figure:
    """Show a face, uint8 [H, W], and for each network a title and the maps of `models.explain`."""
    figure = style.figure(10.4, 2.9 * len(rows) + 0.3, dpi=110)
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for (picture, saliency, integrated, cam), (title, maps) in zip(grid, rows, strict=True):
        style.grey_image(picture, face)
        picture.set_title(title, fontsize=11)
        saliency.imshow(_scaled(maps[0]), cmap="magma", vmin=0, vmax=1)
        saliency.set_axis_off()
        integrated.imshow(_scaled(maps[1]), cmap="RdBu_r", vmin=-1, vmax=1)
        integrated.set_axis_off()
        style.grey_image(cam, face)
        shares = _scaled(maps[2])
        cam.imshow(shares, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * shares)
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
    """Scale to [-1, 1]: the size that one value in 200 exceeds is 1, or few would dim the rest."""
    return np.clip(values / max(float(np.quantile(np.abs(values), 0.995)), 1e-12), -1, 1)

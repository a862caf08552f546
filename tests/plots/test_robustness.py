import io

import numpy as np
import pandas as pd
import pytest

from fer_jax import plots


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_certified_accuracy_is_drawn_up_to_the_largest_radius():
    radii = np.arange(100) / 100
    curve = pd.DataFrame(
        {"radius": radii, "accuracy": 1 - radii, "low": 0.9 - radii, "high": 1 - radii / 2}
    )
    axes = plots.certified_accuracy(curve, 0.805, "title").axes[0]
    line, mark = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), radii[:81])
    np.testing.assert_array_equal(line.get_ydata(), 1 - radii[:81])
    assert list(mark.get_xdata()) == [0.805, 0.805] and texts(axes) == ["all noisy copies agree"]


def test_corruptions_have_a_panel_each_and_every_curve_begins_at_the_clean_accuracy():
    rows = [(name, "clean", 0, 0.9 - k / 2) for k, name in enumerate("ab")]
    rows += [
        (n, c, s, 0.8 - k / 2 - s / 10)
        for k, n in enumerate("ab")
        for c in ("fog", "snow")
        for s in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["model", "corruption", "severity", "accuracy"])
    figure = plots.corruption_accuracy(
        table.assign(low=table["accuracy"] - 0.1, high=table["accuracy"] + 0.1), "n"
    )
    assert [axes.get_title() for axes in figure.axes[:3]] == ["mean of all", "fog", "snow"]
    for axes in figure.axes[:3]:
        for line, expected in zip(axes.lines, ([0.9, 0.7, 0.6], [0.4, 0.2, 0.1]), strict=True):
            assert list(line.get_xdata()) == [0, 1, 2]
            np.testing.assert_allclose(line.get_ydata(), expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_explanations_show_the_face_and_maps_on_scales_of_their_own():
    rng = np.random.default_rng(0)
    face, maps = rng.integers(0, 256, (48, 48), np.uint8), rng.normal(size=(3, 48, 48)) * 1e-3
    rows = [(name, [np.abs(maps[0]), maps[1], np.zeros((48, 48))]) for name in ("one", "two")]
    figure = plots.explanations(face, rows)
    assert [axes.get_title() for axes in figure.axes[::4]] == ["one", "two"]
    for axes in (figure.axes[0], figure.axes[3], figure.axes[4]):
        np.testing.assert_array_equal(axes.images[0].get_array(), face)
    integrated = np.asarray(figure.axes[2].images[0].get_array())
    assert (np.abs(integrated) == 1).mean() == pytest.approx(0.005, abs=0.001)
    inner = np.abs(integrated) < 1
    assert np.ptp((integrated / maps[1])[inner]) < 1e-6 * np.abs(integrated / maps[1])[inner].max()
    figure.savefig(io.BytesIO(), format="png")


def test_stages_of_an_attack_are_curves_that_begin_at_the_clean_accuracy():
    rows = [("clean", 0.1, 0.9), ("apgd", 0.1, 0.5), ("square", 0.1, 0.4)]
    rows += [("clean", 0.2, 0.9), ("apgd", 0.2, 0.3), ("square", 0.2, 0.1)]
    table = pd.DataFrame(rows, columns=["stage", "eps", "accuracy"])
    table = table.assign(low=table["accuracy"] - 0.1, high=table["accuracy"] + 0.1)
    axes = plots.robust_accuracy(table, "title").axes[0]
    assert [line.get_label() for line in axes.lines] == ["apgd", "square"]
    for line, accuracies in zip(axes.lines, ([0.9, 0.5, 0.3], [0.9, 0.4, 0.1]), strict=True):
        assert list(line.get_xdata()) == [0, 0.1, 0.2] and list(line.get_ydata()) == accuracies


def test_an_attack_is_shown_with_its_change_and_what_is_said_of_both_images():
    original = np.full((48, 48), 100, np.uint8)
    hacked = original.copy()
    hacked[0, 0], hacked[0, 1] = 104, 98
    images, probabilities = np.stack([original, hacked]), np.array([[0.9, 0.1], [0.25, 0.75]])
    figure = plots.adversarial(images, probabilities, ("happy", "sad"))
    left, change, right, bars, text, _ = figure.axes[:6]
    assert left.get_title() == "original: Happy 90.0%"
    assert right.get_title() == "= hacked: Sad 75.0%"
    assert change.get_title() == "+ perturbation, shown 32 times as strong"
    assert np.asarray(change.images[0].get_array())[0, :3].tolist() == [4, -2, 0]
    assert texts(text) == ["largest change 4 of 255 levels\nmean change 0.00 levels"]
    assert [bar.get_width() for bar in bars.patches] == [0.9, 0.1]

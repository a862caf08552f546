import io

import numpy as np
import pandas as pd
import pytest

from fer_jax import plots
from fer_jax.evaluation import calibration
from fer_jax.labels import EMOTIONS


def texts(axes):
    return [text.get_text() for text in axes.texts]


def history(epochs=5, gap=0.5):
    epoch = np.arange(1, epochs + 1)
    loss, accuracy = 2 / epoch, 1 - 1 / (epoch + 1)
    columns = {"train_loss": loss, "holdout_loss": loss + gap}
    return pd.DataFrame(
        {"epoch": epoch, **columns, "train_accuracy": accuracy, "holdout_accuracy": accuracy - gap}
    )


def test_learning_curves_draw_the_log_and_mark_the_restored_epoch():
    log = history()
    for axes, quantity in zip(
        plots.learning_curves(log, 4).axes, ("loss", "accuracy"), strict=True
    ):
        train, holdout, mark, kept = axes.lines
        for line, split in ((train, "train"), (holdout, "holdout")):
            np.testing.assert_array_equal(line.get_xdata(), log["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), log[f"{split}_{quantity}"])
        assert list(mark.get_xdata()) == [4, 4]
        assert (*kept.get_xdata(), *kept.get_ydata()) == (4, log[f"holdout_{quantity}"][3])
        assert "epoch 4" in texts(axes)[-1] and texts(axes)[:2] == ["training", "hold-out"]


def test_learning_curves_of_adversarial_training_have_a_third_line():
    log = history().assign(holdout_robust_accuracy=0.25)
    axes = plots.learning_curves(log, 4).axes[1]
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), log["holdout_robust_accuracy"])
    assert "hold-out,\nattacked" in texts(axes)


def test_learning_curves_mark_where_another_run_went_on():
    for axes in plots.learning_curves(history(), 5, restarts=[2, 3]).axes:
        dotted = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert len(dotted) == 2 and all(a < x < a + 1 for a, x in zip((2, 3), dotted, strict=True))


def test_names_of_curves_that_end_together_are_pushed_apart():
    apart, together = (
        plots.learning_curves(history(gap=gap), 3).axes[0].texts for gap in (0.5, 0.0)
    )
    assert apart[0].xyann[1] == apart[1].xyann[1] == 0
    assert abs(together[0].xyann[1] - together[1].xyann[1]) >= together[0].get_fontsize()


@pytest.mark.parametrize("epochs", [1, 200])
def test_learning_curves_render_for_short_and_long_runs(epochs):
    buffer = io.BytesIO()
    plots.learning_curves(history(epochs), 1).savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_confusion_matrix_shows_counts_and_row_percentages():
    matrix = np.diag(np.arange(1, 8)) * 1000
    matrix[0, 6] = 3000
    matrix[1] = 0  # a class that does not occur has no percentages, and must not divide by zero
    axes = plots.confusion_matrix(matrix, EMOTIONS).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells[0, 0] == "25%\n1,000" and cells[6, 0] == "75%\n3,000" and cells[1, 1] == "0%\n0"
    np.testing.assert_allclose(axes.images[0].get_array()[0], [0.25, 0, 0, 0, 0, 0, 0.75])
    assert [label.get_text() for label in axes.get_xticklabels()] == list(EMOTIONS)
    assert axes.get_yticklabels()[0].get_text() == "angry\n(n = 4,000)"


def test_confusion_matrix_text_contrasts_with_its_cell():
    axes = plots.confusion_matrix(np.eye(7) * 10, EMOTIONS).axes[0]
    colours = {text.get_position(): text.get_color() for text in axes.texts}
    assert colours[0, 0] == "white" and colours[1, 0] == "black"


def test_reliability_diagram_draws_the_bins_and_names_their_error():
    rng = np.random.default_rng(0)
    before, labels = rng.dirichlet(np.ones(7), 150), rng.integers(0, 7, 150)
    axes = plots.reliability_diagram(
        labels, before, before**2 / (before**2).sum(axis=1, keepdims=True)
    ).axes[0]
    bins = calibration.reliability(labels, before)
    drawn = axes.get_lines()[1]
    np.testing.assert_array_equal(drawn.get_xdata(), bins.confidence)
    np.testing.assert_array_equal(drawn.get_ydata(), bins.accuracy)
    assert (
        f"unscaled: calibration error {calibration.calibration_error(bins):.1%}"
        == drawn.get_label()
    )


@pytest.mark.parametrize("count", [1, 3, 10, 23])
def test_a_contact_sheet_shows_every_image_whole_under_its_title(count):
    images = np.random.default_rng(0).integers(0, 200, (count, 48, 48), np.uint8)
    titles = [f"Training {place}\nhappy" for place in range(count)]
    (axes,) = plots.contact_sheet(images, titles, "what these are").axes
    canvas = np.asarray(axes.images[0].get_array())
    assert texts(axes) == [*titles, "what these are"]
    for image, label in zip(images, axes.texts, strict=False):
        x, y = map(int, label.get_position())  # two pixels above the image's corner
        np.testing.assert_array_equal(canvas[y + 2 : y + 50, x : x + 48], image)
    assert (canvas < 255).sum() == images.size


def test_compared_runs_draw_each_history_in_its_own_style_with_its_best_epoch():
    runs = {f"run {k}": (history(epochs=2 + k), 1 + k % 3) for k in range(9)}
    figure = plots.compared_runs(runs)
    for axes, column in zip(figure.axes, ("holdout_loss", "holdout_accuracy"), strict=True):
        drawn = [line for line in axes.lines if len(line.get_xdata())]
        for (log, best), curve, dot in zip(runs.values(), drawn[::2], drawn[1::2], strict=True):
            np.testing.assert_array_equal(curve.get_xdata(), log["epoch"])
            np.testing.assert_array_equal(curve.get_ydata(), log[column])
            assert (*dot.get_xdata(), *dot.get_ydata()) == (best, log[column][best - 1])
            assert dot.get_color() == curve.get_color()
        assert len({(curve.get_color(), curve.get_linestyle()) for curve in drawn[::2]}) == len(
            runs
        )
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split(":")[0] for text in named] == list(runs) and named[3].endswith("(epoch 1)")
    assert figure.savefig(io.BytesIO(), format="png") is None

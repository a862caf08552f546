"""Early stopping, and the best epoch."""

import math

import jax.numpy as jnp
import pytest

from fer_jax.config import EarlyStopping, Optimizer
from fer_jax.training import stopping


def row(epoch, accuracy, lr):
    return {"epoch": epoch, "holdout_accuracy": accuracy, "holdout_loss": 1 - accuracy, "lr": lr}


def judged(config, rows):
    """The progress after these rows, and what `stopped` says after each."""
    weights = {"w": jnp.zeros(2)}
    progress, reasons = stopping.begin(weights), []
    for each in rows:
        progress = stopping.judge(config, progress, each, weights)
        reasons.append(stopping.stopped(config, progress, []))
    return progress, reasons


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_early_stopping_waits_until_the_rate_is_low_and_keeps_the_best(monitor, tiny):
    settings = EarlyStopping(monitor=monitor, patience=2, min_delta=0.01, rate_below=0.1)
    accuracies = (0.5, 0.4, 0.4, 0.4, 0.505, 0.6, 0.6, 0.605)
    rates = (0.005, 0.1, 0.1, 0.1, 0.05, 0.009, 0.008, 0.007)
    rows = [row(i + 1, accuracies[i], rates[i]) for i in range(8)]
    progress, reasons = judged(tiny(epochs=10, early_stopping=settings), rows)
    assert reasons == [""] * 7 + ["no better epoch than 6"]
    assert int(progress.best_epoch) == 6


def test_an_equal_epoch_is_no_better_one(tiny):
    config = tiny(epochs=10, early_stopping=EarlyStopping(patience=2))
    # which float32 rounds down
    progress, reasons = judged(config, [row(epoch, 0.7, 0.001) for epoch in (4, 5, 6)])
    assert (int(progress.best_epoch), reasons[-1]) == (4, "no better epoch than 4")


def test_the_first_weights_outlive_the_state_where_no_epoch_is_a_better_one(tiny):
    weights = {"w": jnp.ones(2)}
    progress = stopping.begin(weights)
    settings = EarlyStopping(monitor="loss")
    lost = row(1, -math.inf, 0.1)
    progress = stopping.judge(tiny(epochs=10, early_stopping=settings), progress, lost, weights)
    weights["w"].delete()  # as the next step does, which donates its buffers
    assert progress.best["w"].tolist() == [1, 1]


def test_the_last_epoch_is_kept_where_nothing_is_to_choose(tiny):
    config = tiny(epochs=10, early_stopping=EarlyStopping(monitor="last", patience=1))
    rows = [row(epoch, accuracy, 0.001) for epoch, accuracy in enumerate((0.7, 0.5, 0.6), 1)]
    progress, reasons = judged(config, rows)
    assert (int(progress.best_epoch), reasons) == (3, [""] * 3)


def test_every_epoch_counts_where_the_rate_follows_the_loss(tiny):
    plateau = tiny(
        optimizer=Optimizer(schedule="plateau"), early_stopping=EarlyStopping(patience=2)
    )
    _, reasons = judged(plateau, [row(epoch, 0.5, 0.1) for epoch in (1, 2, 3)])
    assert reasons == ["", "", "no better epoch than 1"]


def history(*values):
    return [{"epoch": i + 1, "holdout_robust_accuracy": value} for i, value in enumerate(values)]


def test_a_collapse_of_robust_accuracy_is_said_in_words():
    assert "from 40.0% to 3.0%" in stopping.overfitted(history(0.2, 0.4, 0.03))
    for calm in (history(0.2, 0.4, 0.3), history(0.25, 0.02), history(), [{"epoch": 1}]):
        assert stopping.overfitted(calm) == ""

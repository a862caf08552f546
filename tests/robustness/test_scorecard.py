"""Measures on a linear network whose robustness is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from fer_jax.evaluation import calibration, metrics
from fer_jax.robustness import scorecard
from fer_jax.robustness.scorecard import Measure, Subject


def brightness(images):
    """Happy (3) above a mean of 0.5, Sad (4) below it; steep, so that it is sure."""
    mean = images.mean(axis=(1, 2, 3))
    return (
        jnp.full((len(images), 7), -99.0)
        .at[:, 3]
        .set(200 * (mean - 0.5))
        .at[:, 4]
        .set(200 * (0.5 - mean))
    )


@pytest.fixture
def faces():
    """Grey faces, 0.5/255 to 12.5/255 above the boundary, and one below it."""
    levels = [128, 131, 133, 140, 120]
    return np.stack([np.full((48, 48), level, np.uint8) for level in levels]), np.array(
        [3, 3, 3, 3, 3]
    )


def named(name):
    return next(m for m in scorecard.measures(10, queries=1) if m.name == name)


def run(measure, faces, alive=None, subject=None):
    subject = subject or Subject(brightness)
    alive = np.ones(5, bool) if alive is None else alive
    return scorecard.run(measure, jax.random.key(0), subject, *faces, alive)


def test_an_attack_leaves_what_is_farther_from_the_boundary_than_eps(faces):
    np.testing.assert_array_equal(run(named("FGSM 4/255"), faces), [0, 0, 1, 1, 0])


def test_what_a_smaller_ball_broke_is_not_attacked_again(faces):
    asked = []
    measure = Measure(
        "x",
        lambda key, subject, images, labels: asked.append(len(images)) or np.ones(len(images)),
        5,
    )
    np.testing.assert_array_equal(
        run(measure, faces, np.array([True, False, True, False, False])), [1, 0, 1, 0, 0]
    )
    np.testing.assert_array_equal(run(measure, faces, np.zeros(5, bool)), 0)
    assert asked == [2]


def test_the_hack_is_asked_only_of_what_is_happy_for_sure(faces):
    images, labels = faces
    labels = np.array([3, 3, 3, 3, 0])
    found = run(named(scorecard.HACKED), (images, labels))
    # the first is not sure
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, False, True])
    np.testing.assert_array_equal(found[1:4], [1, 0, 0])


def test_a_constant_is_not_attacked(faces):
    floor = scorecard.constant(np.array([0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1]))
    labels = np.array([3, 4, 3, 0, 3])
    right = [1, 0, 1, 0, 1]
    for measure in scorecard.measures(5):
        found = run(measure, (faces[0], labels), subject=floor)
        assert np.isnan(found).all() if measure.name == scorecard.HACKED else (found == right).all()
    radius = scorecard.measures(5, sigma=0.25, certify=5, copies=100)[-1]
    radii = run(radius, (faces[0], labels), subject=floor)
    np.testing.assert_array_equal(radii > 0.5, np.array(right) == 1)


def test_figures_are_means_with_intervals():
    values = [1, 0, 1, 1, np.nan]
    found = pd.DataFrame({"measure": "x", "row": range(5), "value": values})
    radii = pd.DataFrame(
        {"measure": scorecard.RADIUS, "row": range(4), "value": [-1, 0.3, 0.6, np.inf]}
    )
    table = scorecard.tabulate(pd.concat([found, radii])).set_index("measure")
    assert table.loc["x", ["value", "n"]].tolist() == [0.75, 4]
    assert table.loc["x", ["low", "high"]].tolist() == pytest.approx(metrics.wilson(3, 4))
    assert table["value"][["certified L2 0.25", "certified L2 0.5"]].tolist() == [0.75, 0.5]
    shares = pd.DataFrame(
        {"measure": "corruptions", "row": range(100), "value": np.linspace(0.4, 0.6, 100)}
    )
    low, high = scorecard.tabulate(shares).loc[0, ["low", "high"]]
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.00586, 0.5 + 1.96 * 0.00586), abs=1e-4)


def test_clean_figures_are_those_of_metrics():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 7)), rng.integers(0, 7, 50)
    figures = scorecard.of_predictions(Subject(brightness, 2.0), logits, labels)
    assert figures.equals(scorecard.of_predictions(Subject(brightness, 2.0), logits, labels))
    assert (figures[["low", "high"]].to_numpy() >= 0).all() and (figures["n"] == 50).all()
    table = figures.set_index("measure")["value"]
    assert table["clean"] == (labels == logits.argmax(axis=1)).mean()
    assert table["macro recall"] == metrics.balanced_accuracy(
        metrics.confusion(labels, logits.argmax(axis=1))
    )
    probabilities = np.asarray(jax.nn.softmax(logits / 2, axis=1))
    expected = calibration.calibration_error(calibration.reliability(labels, probabilities))
    assert table["calibration error"] == pytest.approx(expected, abs=1e-6)


def test_the_intervals_of_recall_and_calibration_are_as_wide_as_their_spread():
    """Against closed forms: a mean of independent recalls, and, where every bin is too sure, a mean
    over images.
    """
    rng, n = np.random.default_rng(1), 3000
    labels = rng.choice(7, n, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
    said = np.where(rng.random(n) < 0.5, labels, (labels + 1) % 7)
    logits = 20.0 * np.eye(7)[said] * rng.uniform(0.2, 1, (n, 1))
    table = scorecard.of_predictions(Subject(brightness), logits, labels).set_index("measure")
    right, confidence = said == labels, np.asarray(jax.nn.softmax(logits, axis=1)).max(axis=1)
    recalls = [right[labels == k].var() / (labels == k).sum() for k in range(7)]
    for name, error in {
        "macro recall": sum(recalls) ** 0.5 / 7,
        "calibration error": (confidence - right).std() / n**0.5,
    }.items():
        value, low, high = table.loc[name, ["value", "low", "high"]]
        assert (value - low, high - value) == pytest.approx((1.96 * error, 1.96 * error), rel=0.12)

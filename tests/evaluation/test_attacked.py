import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from fer_jax.attacks import fgsm, l1, l2, linf, universal
from fer_jax.errors import InputError
from fer_jax.evaluation.attacked import accuracy_curve, attacked, attacked_at
from fer_jax.evaluation.logits import predict_logits
from fer_jax.evaluation.summary import (
    describe,
    describe_probabilities,
    probability_report,
    report,
    summary,
)


def faces(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), np.uint8)


def mean_levels(images):
    """A logits function with a known answer: class k's logit is (k + 1) times the image's mean."""
    return images.mean(axis=(1, 2, 3))[:, None] * np.arange(1, 8)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_logits_do_not_depend_on_the_batch_size(count):
    images = faces(count)
    expected = mean_levels(images[..., None] / 255)
    logits = predict_logits(mean_levels, images, batch_size=4)
    assert logits.dtype == np.float32 and logits.shape == (count, 7)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_every_batch_has_the_same_shape_and_the_models_range():
    seen = []

    def logits_fn(images):
        seen.append((images.shape, images.dtype, images.min(), images.max()))
        return np.zeros((len(images), 7), np.float32)

    predict_logits(logits_fn, np.full((5, 48, 48), 255, np.uint8), batch_size=4)
    assert seen == [((4, 48, 48, 1), np.float32, 1, 1), ((4, 48, 48, 1), np.float32, 0, 1)]


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (np.zeros((2, 48, 48), np.float32), r"float32 \[2, 48, 48\]"),
        (np.zeros((48, 48), np.uint8), r"uint8 \[48, 48\]"),
        (np.zeros((2, 48, 48, 1), np.uint8), r"uint8 \[2, 48, 48, 1\]"),
        (np.zeros((2, 64, 64), np.uint8), r"uint8 \[2, 64, 64\]"),
        ([[1, 2], [3, 4]], r"list \[2, 2\]"),
    ],
)
def test_other_images_are_refused_with_what_was_received(images, received):
    with pytest.raises(InputError, match=received):
        predict_logits(mean_levels, images)


def test_summary_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    # class 6 never occurs
    logits, labels = rng.normal(size=(200, 7)).astype(np.float32), rng.integers(0, 6, 200)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = logits.argmax(axis=1)
    macro = {"labels": range(7), "average": "macro", "zero_division": 0}
    expected = {
        "loss": log_loss(labels, probabilities, labels=range(7)),
        "accuracy": np.mean(predictions == labels),
        "precision": precision_score(labels, predictions, **macro),
        "recall": recall_score(labels, predictions, **macro),
        "f1": f1_score(labels, predictions, **macro),
    }
    assert summary(logits, labels) == pytest.approx(expected, abs=1e-6)


def test_report_counts_each_subset_and_is_json():
    labels, predictions = np.array([0, 0, 3, 3]), np.array([0, 1, 3, 3])
    first = np.array([True, True, False, False])
    subsets = {
        "all": np.ones(4, bool),
        "first": first,
        "last": ~first,
        "nothing": np.zeros(4, bool),
    }
    results = json.loads(json.dumps(report(labels, predictions, subsets)))
    counts = {
        name: (row["correct"], row["rows"], row["accuracy"])
        for name, row in results["accuracy"].items()
    }
    assert counts == {"all": (3, 4, 0.75), "first": (1, 2, 0.5), "last": (2, 2, 1.0)}
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in results["accuracy"].values())
    assert results["per_class"]["happy"] == {"precision": 1, "recall": 1, "f1": 1, "support": 2}
    assert results["per_class"]["angry"] == pytest.approx(
        {"precision": 1, "recall": 0.5, "f1": 2 / 3, "support": 2}
    )
    assert results["balanced_accuracy"] == 0.75
    assert np.sum(results["confusion_matrix"]) == 4 and results["confusion_matrix"][0][1] == 1


def test_describe_shows_the_figures_of_the_report():
    labels, predictions = np.array([0, 0, 3, 3]), np.array([0, 1, 3, 3])
    text = describe(report(labels, predictions, {"all": np.ones(4, bool)})).splitlines()
    assert text[0].split() == ["emotion", "precision", "recall", "F1", "support"]
    assert text[1].split() == ["angry", "100.0%", "50.0%", "66.7%", "2"]
    assert "balanced accuracy 75.0%" in text[9]
    assert text[-1].split()[:4] == ["accuracy", "on", "all", "75.00%"]


def test_probability_report_asks_the_simpler_questions():
    labels = np.array([3, 4, 0, 6])  # happy, sad, angry, neutral
    probabilities = np.full((4, 7), 0.02)
    # right; disgust for sad; fear for angry; surprise for neutral
    for row, guess in enumerate([3, 1, 2, 5]):
        probabilities[row, guess] = 0.88
    report = probability_report(labels, probabilities)
    assert report["valence"] == 1.0  # every mistake stays within its group
    # the sad row gives happy and sad the same, and a tie goes to happy
    assert report["happy_against_sad"] == 0.5
    assert report["calibration_error"] == pytest.approx((0.12 + 3 * 0.88) / 4)
    text = describe_probabilities(report, {**report, "brier": 0.25}).splitlines()
    assert text[0].split() == ["unscaled", "scaled"]
    assert text[1].split()[-2:] == [f"{report['brier']:.4f}", "0.2500"]


def brightness(images):
    """Class 1 for faces whose mean is above one half, else class 0."""
    level = images.mean(axis=(1, 2, 3))
    return jnp.stack([0.5 - level, level - 0.5, *[jnp.full_like(level, -9.0)] * 5], axis=1)


def brighten(by):
    return lambda key, logits_fn, images, labels: images + by


def test_an_attack_is_brought_back_into_ball_and_box_before_it_is_judged():
    images = np.full((3, 48, 48), 120, np.uint8)
    images[2] = 126
    found = attacked(
        brighten(0.9),
        brightness,
        images,
        np.zeros(3, int),
        key=jax.random.key(0),
        norm=linf,
        eps=4 / 255,
        batch_size=2,
    )
    assert (found.images.astype(int) - images == 4).all()  # it claimed more than its eps
    np.testing.assert_array_equal(found.reached_8bit, [False, False, True])
    np.testing.assert_array_equal(found.norms["linf"], [4, 4, 4])
    np.testing.assert_array_equal(found.norms["l0"], [48 * 48] * 3)
    np.testing.assert_allclose(found.norms["l1"], [4 * 48 * 48] * 3)
    np.testing.assert_allclose(found.norms["l2"], [4 * 48] * 3)
    assert (found.before.argmax(axis=1) == 0).all()
    assert (found.iterations == 0).all()


def test_several_eps_are_judged_in_one_call():
    images, options = np.full((2, 48, 48), 120, np.uint8), {"key": jax.random.key(0), "norm": linf}
    images[1] = 126
    eps = [9 / 255, 1 / 255, 4 / 255]
    found = attacked_at(brighten, brightness, images, np.zeros(2, int), eps=eps, **options)
    assert list(found) == sorted(eps)
    assert [each.norms["linf"].tolist() for each in found.values()] == [[1, 1], [4, 4], [9, 9]]
    assert [each.reached_8bit.tolist() for each in found.values()] == [
        [False, False],
        [False, True],
        [True, True],
    ]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from([linf, l2, l1]), st.floats(0, 2), st.floats(1e-3, 10), st.integers(0, 2**16))
def test_whatever_an_attack_returns_is_in_the_ball_and_judged_anew(norm, eps, force, seed):
    """Of an attack that keeps to no bound; the judge's flags are those of its images."""
    random = np.random.default_rng(seed)
    images, labels = random.integers(0, 256, (3, 48, 48)).astype(np.uint8), random.integers(0, 2, 3)
    wild = lambda key, logits_fn, images, labels: images + force * random.normal(size=images.shape)
    options = {"key": jax.random.key(seed), "norm": norm, "eps": eps, "batch_size": 3}
    found = attacked(wild, brightness, images, labels, **options)
    delta = (found.images.astype(np.float32) - images)[..., None] / 255
    assert (norm.size(jnp.asarray(delta)) <= eps + 1e-4).all()
    np.testing.assert_allclose(
        found.norms["l1"], 255 * np.abs(delta).sum(axis=(1, 2, 3)), rtol=1e-4
    )
    assert (found.norms["l0"] <= found.norms["l1"] + 1e-3).all() and (
        found.norms["linf"] <= found.norms["l2"] + 1e-3
    ).all()
    said = predict_logits(brightness, found.images, 3).argmax(axis=1)
    np.testing.assert_array_equal(found.reached_8bit, said != labels)
    if eps == 0:
        np.testing.assert_array_equal(found.images, images)


def test_what_rounding_undoes_is_no_success():
    images = np.full((1, 48, 48), 127, np.uint8)
    found = attacked(
        brighten(0.6 / 255), brightness, images, np.zeros(1, int), key=jax.random.key(0)
    )
    assert found.reached[0] and found.reached_8bit[0]  # 127.6 rounds to 128, above the half
    found = attacked(
        brighten(0.49 / 255), brightness, images + 0, np.zeros(1, int), key=jax.random.key(0)
    )
    assert not found.reached_8bit[0] and (found.images == 127).all()
    assert found.ssim[0] == pytest.approx(1)


def test_a_target_is_reached_only_by_that_class():
    images, to_one = np.full((2, 48, 48), 120, np.uint8), np.array([1, 3])
    found = attacked(
        brighten(0.2), brightness, images, to_one, key=jax.random.key(0), targeted=True
    )
    np.testing.assert_array_equal(found.reached_8bit, [True, False])


def test_an_attack_that_returns_nan_is_no_success_but_an_error():
    images = np.full((1, 48, 48), 120, np.uint8)
    with pytest.raises(ValueError, match="not finite"):
        attacked(
            brighten(float("nan")), brightness, images, np.zeros(1, int), key=jax.random.key(0)
        )


def scattered(size):
    """A perturbation of exactly this L2 norm, which rounding would make longer."""
    noise = np.random.default_rng(0).normal(size=(1, 48, 48, 1))
    return lambda key, logits_fn, images, labels: (
        images + (size * noise / np.linalg.norm(noise)).astype(np.float32)
    )


def test_rounding_does_not_leave_the_ball():
    images = np.full((1, 48, 48), 120, np.uint8)
    found = attacked(
        scattered(0.5),
        brightness,
        images,
        np.zeros(1, int),
        key=jax.random.key(0),
        norm=l2,
        eps=0.5,
    )
    assert 0.47 < found.norms["l2"][0] / 255 <= 0.5


def test_the_passes_of_the_attack_alone_are_counted():
    attack, images = functools.partial(fgsm, eps=4 / 255), np.full((3, 48, 48), 120, np.uint8)
    options = {"key": jax.random.key(0), "batch_size": 2}
    found = attacked(attack, brightness, images, np.zeros(3, int), count=True, **options)
    # a look at what the step made is the second
    np.testing.assert_array_equal(found.passes["forward"], [2, 2, 2])
    np.testing.assert_array_equal(found.passes["backward"], [1, 1, 1])
    np.testing.assert_array_equal(found.iterations, [1, 1, 1])
    assert attacked(attack, brightness, images, np.zeros(3, int), **options).passes is None


def test_a_batch_is_filled_up_with_its_own_images():
    """Zeros labelled 0 would pull a perturbation for all images the wrong way."""
    images, labels = np.full((2, 48, 48), 130, np.uint8), np.ones(2, int)
    attack = functools.partial(universal, eps=4 / 255, step_size=2 / 255, steps=3)
    found = attacked(attack, brightness, images, labels, key=jax.random.key(0), batch_size=8)
    assert (found.images == 126).all() and found.reached_8bit.all()


def test_an_accuracy_curve_falls_even_where_the_attack_at_a_larger_eps_fails():
    images = np.array([126, 124, 120, 130], np.uint8)[:, None, None] * np.ones((48, 48), np.uint8)
    asked = []

    def stages(eps):
        by = eps if eps < 0.02 else 0.0
        attack = lambda key, logits_fn, images, labels: (
            asked.append((eps, len(images))) or images + by
        )
        return {"fails": brighten(0.0), "brighter": attack}

    options = {
        "key": jax.random.key(0),
        "norm": linf,
        "eps": [4 / 255, 9 / 255, 2 / 255],
        "batch_size": 2,
    }
    curve = accuracy_curve(stages, brightness, images, np.zeros(4, int), **options)
    assert [row["eps"] for row in curve] == [0.0, 2 / 255, 4 / 255, 9 / 255]
    assert [row["robust"] for row in curve] == [3, 2, 1, 1]
    assert all(
        row["n"] == 4 and row["low"] < row["accuracy"] == row["robust"] / 4 < row["high"]
        for row in curve
    )
    # what is broken is not attacked again
    assert asked == [(2 / 255, 2), (2 / 255, 2), (4 / 255, 2), (9 / 255, 2)]

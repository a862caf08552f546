import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from fer_jax.errors import InputError
from fer_jax.robustness import masking, scorecard

HONEST = masking.Measured(
    n=100,
    eps=0.01,
    steps=20,
    queries=200,
    by_eps={0.005: 0.7, 0.01: 0.4, 0.02: 0.1},
    unbounded=0.0,
    one_step=0.5,
    restarted=0.38,
    white_box=0.38,
    black_box=0.6,
    noise=0.97,
    flat=0.0,
    transfer=0.8,
)


def network_logits(inward, outward, scale, levels, images):
    """Two layers; logits times `scale`; behind a staircase of `levels` grey levels where that is
    above 0.
    """
    stairs = jax.lax.stop_gradient(jnp.round(images * levels) / jnp.maximum(levels, 1))
    images = jnp.where(levels > 0, stairs, images).reshape(len(images), -1)
    return scale * (jnp.tanh((images - 0.5) @ inward) @ outward)


def network(scale=1.0, levels=0.0):
    random = np.random.default_rng(0)
    inward, outward = 0.05 * random.normal(size=(48 * 48, 16)), random.normal(size=(16, 7))
    return Partial(
        network_logits,
        *(jnp.asarray(each, jnp.float32) for each in (inward, outward, scale, levels)),
    )


@pytest.fixture(scope="module")
def said():
    """What is found suspicious about a network, at an eps that breaks some of the images."""
    images = np.random.default_rng(1).integers(0, 256, (16, 48, 48), np.uint8)

    def look(logits_fn, **options):
        labels = np.asarray(logits_fn(images[..., None] / np.float32(255)).argmax(axis=1))
        options = {
            "key": jax.random.key(0),
            "eps": 1 / 255,
            "queries": 100,
            "batch_size": 16,
        } | options
        found = masking.measure(logits_fn, images, labels, **options)
        return found, masking.suspicions(found)

    return look


def test_an_honest_network_is_not_suspected(said):
    found, sentences = said(network(), surrogate=network())
    assert sentences == []
    assert 0.2 < found.by_eps[1 / 255] < 0.9 and found.unbounded == 0 and found.n == 16
    assert found.by_eps[2 / 255] < found.by_eps[0.5 / 255]
    assert found.transfer == found.by_eps[1 / 255]  # made on the very same network


def test_the_telling_eps_is_the_first_that_leaves_enough(monkeypatch):
    images, labels = np.zeros((10, 48, 48), np.uint8), np.zeros(10, int)
    left, asked = {8: 0, 4: 1, 2: 2, 1: 3, 0.5: 8, 0.25: 8}, []  # of the eight that are right alone

    def broken_by(stages, logits_fn, images, labels, *, key, norm, eps):
        asked.append(round(255 * eps, 6))
        robust = left[asked[-1]]
        return np.array([-1, -1] + [1] * robust + [0] * (8 - robust))

    monkeypatch.setattr(masking, "broken_by", broken_by)
    find = lambda: masking.telling_eps(
        network(), images, labels, key=jax.random.key(0), largest=8 / 255
    )
    assert find() == pytest.approx(1 / 255)
    assert asked == [8, 4, 2, 1]
    left.update({1: 2, 0.5: 0, 0.25: 0})
    assert find() == pytest.approx(0.25 / 255)


def test_a_constant_is_suspected(said):
    floor = scorecard.constant(np.full(7, 1 / 7))
    found, sentences = said(floor.logits_fn)
    assert found.flat == 1 and found.unbounded == 1
    assert sentences[0].startswith("The gradient of the cross-entropy is zero")
    assert sentences[1].startswith(
        "Accuracy is still 100.0% under PGD that may change the images at will"
    )


def test_saturated_logits_are_suspected(said):
    found, sentences = said(network(scale=1e4))
    assert found.flat > 0.9
    assert sentences[0].startswith(
        "The gradient of the cross-entropy is zero, or lost in rounding, for"
    )


def test_a_staircase_is_suspected(said):
    found, sentences = said(network(levels=1000.0), eps=16 / 255, queries=300)
    assert found.flat == 1
    assert any(
        "zero, or lost in rounding, for 100.0% of the images" in sentence for sentence in sentences
    )
    assert any("Square, which sees no gradient" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"flat": 0.25}, "lost in rounding, for 25.0% of the images"),
        ({"unbounded": 0.3}, "still 30.0% under PGD that may change the images at will"),
        ({"one_step": 0.2}, "One step leaves 20.0% accuracy and 20 steps leave 40.0%"),
        ({"noise": 0.6}, "Uniform noise leaves 60.0% accuracy and PGD of the same size 40.0%"),
        ({"black_box": 0.3}, "leaves 30.0% accuracy after 200 queries and APGD, which does, 38.0%"),
        ({"restarted": 0.1}, "5 random starts bring PGD from 40.0% accuracy to 10.0%"),
        ({"transfer": 0.1}, "another network leave 10.0% accuracy, those made on this one 40.0%"),
        (
            {"by_eps": {0.005: 0.2, 0.01: 0.4, 0.02: 0.1}},
            "PGD leaves 20.0% accuracy at eps 0.005 and 40.0% at 0.01",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_sign_makes_one_sentence_with_its_figures(changed, sentence):
    assert masking.suspicions(HONEST) == []
    (only,) = masking.suspicions(HONEST._replace(**changed))
    assert sentence in only


def test_a_network_that_is_always_wrong_is_refused(said):
    images = np.zeros((2, 48, 48), np.uint8)
    with pytest.raises(InputError, match="none of the 2 images right"):
        masking.measure(
            network(), images, np.full(2, 9), key=jax.random.key(0), eps=0.1, batch_size=2
        )

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import models
from fer_jax.errors import InputError

TINY = {"family": "vgg", "stages": [[4, 4], [6]], "dropout": 0.5}


@pytest.fixture(scope="module")
def variables():
    return models.create(TINY).init(jax.random.key(0), jnp.zeros((1, 48, 48, 1)))


def images(n, side=48):
    return jax.random.uniform(jax.random.key(1), (n, side, side, 1))


def test_parameter_count_is_the_closed_form(variables):
    kernels = 9 * (1 * 4 + 4 * 4 + 4 * 6)
    norms = 2 * (4 + 4 + 6)
    dense = 6 * 7 + 7
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == kernels + norms + dense
    )


def test_evaluation_treats_the_rows_of_a_batch_independently(variables):
    model, batch = models.create(TINY), images(5)
    together = model.apply(variables, batch)
    apart = jnp.concatenate([model.apply(variables, batch[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_training_uses_batch_statistics_and_dropout(variables):
    model, batch = models.create(TINY), images(5)
    keys = jax.random.split(jax.random.key(2))
    runs = [
        model.apply(variables, batch, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        for key in keys
    ]
    assert not np.allclose(runs[0][0], runs[1][0])
    means = [updates["batch_stats"]["norm1_1"]["mean"] for _, updates in runs]
    np.testing.assert_array_equal(*means)
    assert not np.allclose(means[0], variables["batch_stats"]["norm1_1"]["mean"])


@pytest.mark.parametrize("side", [32, 40, 48])
def test_any_side_gives_float32_logits_also_from_bfloat16_activations(variables, side):
    logits = models.create(TINY, dtype=jnp.bfloat16).apply(variables, images(2, side))
    assert logits.shape == (2, 7)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(
        logits, models.create(TINY).apply(variables, images(2, side)), atol=0.05
    )


def test_a_crop_looks_at_the_centre_alone(variables):
    model, batch = models.create({**TINY, "crop": 40}), images(3)
    centre = models.create(TINY).apply(variables, batch[:, 4:44, 4:44])
    np.testing.assert_allclose(model.apply(variables, batch), centre, atol=1e-6)
    np.testing.assert_allclose(model.apply(variables, batch[:, 4:44, 4:44]), centre, atol=1e-6)


def test_a_mirroring_network_is_the_mean_over_an_image_and_its_mirror_image(variables):
    both, batch = models.create({**TINY, "crop": 40, "mirror": True}), images(3)
    one = models.create({**TINY, "crop": 40})
    mean = (one.apply(variables, batch) + one.apply(variables, batch[:, :, ::-1])) / 2
    np.testing.assert_allclose(both.apply(variables, batch), mean, atol=1e-6)
    mode = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(2)}}
    trained = [model.apply(variables, batch, **mode) for model in (one, both)]
    jax.tree.map(np.testing.assert_array_equal, *trained)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mirror": 1}, "mirror must be True or False, received 1"),
        ({"family": "resnext"}, "unknown model family 'resnext'"),
        ({"family": [1]}, r"unknown model family \[1\]"),
        ({"dropout": "abc"}, r"dropout must be in \[0, 1\), received 'abc'"),
        ({"width": 3}, "unknown field 'width'"),
        ({"stages": [[4, -1]]}, "positive widths"),
        ({"stages": []}, "positive widths"),
        ({"stages": 5}, "stages"),
        ({"crop": 49}, r"crop must be an integer in \[16, 48\], received 49"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), received 1.0"),
    ],
)
def test_a_wrong_architecture_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        models.create({**TINY, **change})


def test_a_missing_field_is_refused():
    with pytest.raises(InputError, match="stages"):
        models.create({"family": "vgg"})

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from fer_jax import models
from fer_jax.models.explain import grad_cam, integrated_gradients, saliency

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(3, 8, 8, 1)).astype(np.float32)
WEIGHTS = jnp.asarray(RNG.normal(size=(8, 8, 7)), jnp.float32)
CLASSES = np.array([1, 6, 0])
OWN = np.moveaxis(np.asarray(WEIGHTS)[:, :, CLASSES], -1, 0)  # [B, H, W]


def linear(weights, images):
    return jnp.einsum("bhwc,hwk->bk", images, weights)


def quadratic(weights, images):
    return jnp.einsum("bhwc,hwk->bk", images**2, weights)


def test_saliency_of_a_linear_model_is_the_size_of_its_weights():
    np.testing.assert_allclose(
        saliency(Partial(linear, WEIGHTS), IMAGES, CLASSES), np.abs(OWN), rtol=1e-5
    )


@pytest.mark.parametrize(("baseline", "steps"), [(0.0, 1), (0.5, 7)])
def test_integrated_gradients_have_their_closed_forms(baseline, steps):
    options = {"baseline": baseline, "steps": steps}
    found = integrated_gradients(Partial(linear, WEIGHTS), IMAGES, CLASSES, **options)
    np.testing.assert_allclose(found, OWN * (IMAGES[..., 0] - baseline), atol=1e-5)
    found = integrated_gradients(Partial(quadratic, WEIGHTS), IMAGES, CLASSES, **options)
    np.testing.assert_allclose(found, OWN * (IMAGES[..., 0] ** 2 - baseline**2), atol=1e-5)


def test_integrated_gradients_of_a_network_add_up_to_the_difference_of_its_logits():
    model = models.create({"family": "vgg", "stages": [[4], [6]]})
    images = jnp.asarray(IMAGES)
    variables = model.init(jax.random.key(0), images, train=False)
    logits_fn = jax.jit(lambda images: model.apply(variables, images, train=False))
    total = integrated_gradients(logits_fn, images, CLASSES, steps=200).sum(axis=(1, 2))
    difference = (logits_fn(images) - logits_fn(jnp.full_like(images, 0.5)))[np.arange(3), CLASSES]
    assert float(jnp.abs(difference).min()) > 0.01
    np.testing.assert_allclose(total, difference, atol=0.01 * float(jnp.abs(difference).max()))


class Averaging(nn.Module):
    """Maps, their means, a dense layer: here Grad-CAM is the class activation map of Zhou et al.
    2016.
    """

    crop: int = 8

    @nn.compact
    def __call__(self, images, train=False):
        margin = (images.shape[1] - self.crop) // 2
        images = images[:, margin : images.shape[1] - margin, margin : images.shape[2] - margin]
        maps = nn.Conv(3, (1, 1), strides=(2, 2), name="maps")(images)
        return nn.Dense(7, use_bias=False, name="logits")(maps.mean(axis=(1, 2)))


@pytest.mark.parametrize("crop", [8, 4])
def test_grad_cam_weights_the_maps_by_the_dense_layers_weights(crop):
    model = Averaging(crop)
    variables = model.init(jax.random.key(1), jnp.asarray(IMAGES))
    params, margin = variables["params"], (8 - crop) // 2
    inner = IMAGES[:, margin : 8 - margin : 2, margin : 8 - margin : 2]
    maps = inner * np.asarray(params["maps"]["kernel"])[0, 0] + np.asarray(params["maps"]["bias"])
    cam = np.maximum(
        np.einsum("bhwk,kb->bhw", maps, np.asarray(params["logits"]["kernel"])[:, CLASSES]), 0
    )
    found = grad_cam(model, variables, IMAGES, CLASSES)
    assert found.shape == (3, 8, 8)
    area = (crop // 2) ** 2  # of which the mean shares out the gradient
    expected = np.asarray(jax.image.resize(jnp.asarray(cam / area), (3, crop, crop), "linear"))
    np.testing.assert_allclose(
        found[:, margin : 8 - margin, margin : 8 - margin], expected, atol=1e-6
    )
    # nothing outside
    assert expected.max() > 0 and float(found.sum()) == pytest.approx(expected.sum(), rel=1e-5)

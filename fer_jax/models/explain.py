"""Which pixels a prediction hangs on: maps [B, H, W] for one class per image.

    saliency(logits_fn, images, classes)               # how fast the logit moves with each pixel
    integrated_gradients(logits_fn, images, classes)   # how much each pixel gave to the logit,
    against a grey picture grad_cam(model, variables, images, classes)        # where the last
    feature maps speak for the class

Images are float32 [B, H, W, C] in [0, 1], classes int [B], and all is said of unscaled logits. None
of the three proves what a network looks at: Adebayo et al., "Sanity Checks for Saliency Maps",
NeurIPS 2018.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fer_jax.attacks.loop import repeat, traced, value_and_gradient
from fer_jax.attacks.objectives import of_class
from fer_jax.models.activations import last_maps
from fer_jax.types import Images, Labels, LogitsFn, Variables

GREY = 0.5  # FER-2013's mean is 0.508: from there, dark pixels can speak as well as bright ones


def saliency(logits_fn: LogitsFn, images: Images, classes: Labels) -> jax.Array:
    """The size of the logit's derivative by each pixel, the largest over channels: Simonyan et al.,
    "Deep Inside Convolutional Networks", ICLR workshop 2014.
    """
    return jnp.abs(_gradient(traced(logits_fn), jnp.asarray(images), jnp.asarray(classes))).max(
        axis=-1
    )


def integrated_gradients(
    logits_fn: LogitsFn, images: Images, classes: Labels, *, baseline: float = GREY, steps: int = 64
) -> jax.Array:
    """What each pixel contributes; the sum over pixels is the logit less that of an even picture of
    level `baseline`.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, equation 1, by the
    midpoint rule with `steps` gradients. Channels are summed.
    """
    logits_fn, images, classes = traced(logits_fn), jnp.asarray(images), jnp.asarray(classes)
    total = repeat(
        _along, steps, jnp.zeros_like(images), logits_fn, images, classes, baseline, steps
    )
    return ((images - baseline) * total / steps).sum(axis=-1)


@jax.jit
def _along(i, total: jax.Array, logits_fn: LogitsFn, images, classes, baseline, steps) -> jax.Array:
    """`total` and the gradient in the middle of the i-th of so many steps from the baseline to the
    images.
    """
    return total + _gradient(logits_fn, baseline + (i + 0.5) / steps * (images - baseline), classes)


@jax.jit
def _gradient(logits_fn: LogitsFn, images: jax.Array, classes: jax.Array) -> jax.Array:
    return value_and_gradient(logits_fn, images, functools.partial(of_class, labels=classes))[2]


def grad_cam(model: Any, variables: Variables, images: Images, classes: Labels) -> jax.Array:
    """The last feature maps, weighted by their mean gradient, summed and rectified, enlarged to the
    images' size.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017, equations 1 and 2; not scaled to [0, 1]. Outside of the square that
    the model crops it is 0.

    Args:
        model: what `models.create` gives; `variables`: the model file's.
    """
    maps, gradients = last_maps(model, variables, jnp.asarray(images), jnp.asarray(classes))
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    cam = jax.nn.relu((weights * maps).sum(axis=-1))
    margin = max(0, images.shape[1] - getattr(model, "crop", images.shape[1])) // 2
    inner = tuple(size - 2 * margin for size in images.shape[1:3])
    return jnp.pad(
        jax.image.resize(cam, (len(cam), *inner), "linear"),
        ((0, 0), (margin, margin), (margin, margin)),
    )

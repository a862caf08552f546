"""Which pixels a prediction depends on: maps [B, H, W] for one class per image.

    saliency(logits_fn, images, classes)
    grad_cam(model, variables, images, classes)

Images are float32 [B, H, W, C] in [0, 1], classes int [B]; the maps explain unscaled logits. None
of the three proves what a network looks at: Adebayo et al., "Sanity Checks for Saliency Maps",
NeurIPS 2018, https://arxiv.org/abs/1810.03292.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fer_jax.attacks.loop import repeat, traced, value_and_gradient
from fer_jax.attacks.objectives import of_class
from fer_jax.types import Images, Labels, LogitsFn, Variables


def saliency(logits_fn: LogitsFn, images: Images, classes: Labels) -> jax.Array:
    """Return how large the logit's derivative by each pixel is (https://arxiv.org/abs/1312.6034)."""
    gradient = _gradient(traced(logits_fn), jnp.asarray(images), jnp.asarray(classes))
    return jnp.abs(gradient).max(axis=-1)


def integrated_gradients(
    logits_fn: LogitsFn, images: Images, classes: Labels, *, baseline: float = 0.5, steps: int = 64
) -> jax.Array:
    """Return what each pixel adds to the logit, compared with an even picture of level `baseline`.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", https://arxiv.org/abs/1703.01365,
    equation 1, by the midpoint rule with `steps` gradients; channels are summed. From 0.5, near
    FER-2013's mean, dark pixels can count as much as bright ones.
    """
    images = jnp.asarray(images)
    arguments = (traced(logits_fn), images, jnp.asarray(classes), baseline, steps)
    total = repeat(_along, steps, jnp.zeros_like(images), *arguments)
    return ((images - baseline) * total / steps).sum(axis=-1)


def grad_cam(model: Any, variables: Variables, images: Images, classes: Labels) -> jax.Array:
    """Return the last feature maps, weighted by their mean gradient, summed, rectified, enlarged.

    Selvaraju et al., "Grad-CAM", https://arxiv.org/abs/1610.02391, equations 1 and 2; not scaled.
    """
    maps, gradients = last_maps(model, variables, jnp.asarray(images), jnp.asarray(classes))
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    cam = jax.nn.relu((weights * maps).sum(axis=-1))
    height, width = images.shape[1:3]
    margin = max(0, height - model.crop) // 2
    inner = (len(cam), height - 2 * margin, width - 2 * margin)
    edges = (margin, margin)
    return jnp.pad(jax.image.resize(cam, inner, "linear"), ((0, 0), edges, edges))


@functools.partial(jax.jit, static_argnames="model")
def last_maps(
    model: nn.Module, variables: Variables, images: Images, classes: Labels
) -> tuple[jax.Array, jax.Array]:
    """Return the last layer's output that is a map [B, h, w, K], and a logit's gradient by it.

    In a VGG that is the last batch norm with its rectifier. It is found by tracing, and reached by
    intercepting its call: the network needs no hook for this, and a model file no variable.
    """
    maps = _traced(model, variables, images)[1]

    def total(delta: jax.Array) -> jax.Array:
        logits = _traced(model, variables, images, len(maps) - 1, delta)[0]
        return of_class(logits, classes).sum()

    own = slice(len(images))  # a network with mirror=True has maps of the mirror images, too
    return maps[-1][own], jax.grad(total)(jnp.zeros_like(maps[-1]))[own]


def _traced(
    model: nn.Module, variables: Variables, images: Images, at: int = -1, delta: Any = 0.0
) -> tuple[jax.Array, list[jax.Array]]:
    """Return logits, and the layers' maps as they end; `delta` is added to the at-th map."""
    maps: list[jax.Array] = []

    def intercept(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        output = call(*arguments, **keywords)
        if context.method_name == "__call__" and isinstance(output, jax.Array) and output.ndim == 4:
            output = output + delta if len(maps) == at else output
            maps.append(output)
        return output

    with nn.intercept_methods(intercept):
        logits: Any = model.apply(variables, images, train=False)
    return logits, maps


@jax.jit
def _along(i, total: jax.Array, logits_fn: LogitsFn, images, classes, baseline, steps) -> jax.Array:
    """Add the gradient in the middle of the i-th of `steps` steps from baseline to images."""
    return total + _gradient(logits_fn, baseline + (i + 0.5) / steps * (images - baseline), classes)


@jax.jit
def _gradient(logits_fn: LogitsFn, images: jax.Array, classes: jax.Array) -> jax.Array:
    return value_and_gradient(logits_fn, images, functools.partial(of_class, labels=classes))[2]

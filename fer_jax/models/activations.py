"""A network's last feature maps and the gradient of its logits by them, for class activation maps.

maps, gradients = last_maps(create(architecture), variables, images, classes)   # [B, h, w, K] each
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fer_jax.types import Images, Labels, Variables


@functools.partial(jax.jit, static_argnames="model")
def last_maps(
    model: nn.Module, variables: Variables, images: Images, classes: Labels
) -> tuple[jax.Array, jax.Array]:
    """Return the last layer's output that is a map [B, h, w, K], and a logit's gradient by it.

    That is the last convolution, with what its layer ends in (a VGG's batch norm and rectifier),
    before any pooling that is no layer of its own. It is found by tracing, and reached by
    intercepting its call: the network needs no hook for this, and a model file no variable.

    Args:
        model: what `models.create` returns.
        variables: the model file's.
        images: float32 [B, H, W, C] in [0, 1].
        classes: int [B], whose logits.
    """
    count = len(jax.eval_shape(lambda: _traced(model, variables, images)[1]))

    def total(delta: jax.Array | float) -> tuple[jax.Array, jax.Array]:
        logits, maps = _traced(model, variables, images, count - 1, delta)
        return jnp.take_along_axis(logits, jnp.asarray(classes)[:, None], axis=1).sum(), maps[-1]

    nothing = jnp.zeros_like(jax.eval_shape(total, 0.0)[1])
    gradients, maps = jax.grad(total, has_aux=True)(nothing)
    return maps, gradients


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

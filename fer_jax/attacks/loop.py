"""Running an attack's step again and again, as each device likes it best.

    state = repeat(step, 40, state, logits_fn, images, labels, norm=linf)

`step(i, state, *args, **static)` is a jitted function with static keyword arguments. Between the
steps of a loop inside jit XLA runs convolutions on one thread of a CPU, so there Python drives the
compiled step; on an accelerator the whole loop is one program. Inside another function's jit the
CPU's loop is unrolled.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from fer_jax.types import Images, Labels, LogitsFn

S = TypeVar("S")  # the state of an attack


def repeat(step: Callable[..., S], steps: int, state: S, *args: Any, **static: Any) -> S:
    """Return the state after `steps` steps; `static` values must be hashable."""
    if jax.default_backend() != "cpu":
        return _looped(step, steps, tuple(sorted(static.items())), state, args)
    for i in range(steps):
        state = step(i, state, *args, **static)
    return state


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _looped(step: Any, steps: int, static: tuple, state: Any, args: tuple) -> Any:
    once = lambda i, state: step(i, state, *args, **dict(static))
    return jax.lax.fori_loop(0, steps, once, state)


def prepared(
    key: jax.Array, logits_fn: LogitsFn, images: Images, labels: Labels
) -> tuple[jax.Array, Partial, jax.Array, jax.Array]:
    """Return what an attack is given as its jitted steps take it."""
    return key, traced(logits_fn), jnp.asarray(images), jnp.asarray(labels)


def traced(logits_fn: Callable[..., Any]) -> Partial:
    """Return a function as an argument for jitted ones; unless a `Partial`, define it only once."""
    return logits_fn if isinstance(logits_fn, Partial) else Partial(logits_fn)


def value_and_gradient(
    logits_fn: LogitsFn, images: Images, value: Callable[[jax.Array], jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the logits [B, C], `value(logits)` [B], and the gradient of each image's value.

    Half precision is widened to float32 before the objective sees it; float64 stays float64.
    """

    def total(images: Images) -> tuple:
        logits = logits_fn(images)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        values = value(logits)
        return values.sum(), (logits, values)

    gradient, (logits, values) = jax.grad(total, has_aux=True)(images)
    return logits, values, gradient

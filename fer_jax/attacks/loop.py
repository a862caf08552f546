"""Running an attack's step again and again, as each device likes it best.

state = repeat(step, 40, state, logits_fn, images, labels, norm=linf)

`step(i, state, *args, **static)` is a jitted function with static keyword arguments. Between steps
of a loop inside jit XLA runs convolutions on one thread of a CPU, so there Python drives the
compiled step; on an accelerator the whole loop is one program. Inside somebody else's jit the CPU's
loop is unrolled.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from fer_jax.types import Images, LogitsFn

State = TypeVar("State")
_tally = {"steps": 0}


def steps_so_far() -> int:
    """The steps of all loops that this process has begun: what an attack adds to it are its
    iterations.

    A loop inside somebody else's jit counts when that is traced, once.
    """
    return _tally["steps"]


def repeat(
    step: Callable[..., State], steps: int, state: State, *args: Any, **static: Any
) -> State:
    """The state after `steps` steps; `static` values must be hashable."""
    _tally["steps"] += steps
    if jax.default_backend() != "cpu":
        return _looped(step, steps, tuple(sorted(static.items())), state, args)
    for i in range(steps):
        state = step(i, state, *args, **static)
    return state


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _looped(step: Any, steps: int, static: tuple, state: Any, args: tuple) -> Any:
    return jax.lax.fori_loop(
        0, steps, lambda i, state: step(i, state, *args, **dict(static)), state
    )


def traced(logits_fn: LogitsFn) -> Partial:
    """`logits_fn` as an argument of jitted functions.

    A `jax.tree_util.Partial(apply, variables)` passes its variables as arrays, so that new weights
    compile nothing anew. Any other function is recognised by its identity: define it once, not at
    every call.
    """
    return logits_fn if isinstance(logits_fn, Partial) else Partial(logits_fn)


def value_and_gradient(
    logits_fn: LogitsFn, images: Images, value: Callable[[jax.Array], jax.Array]
) -> tuple:
    """Logits [B, C], `value(logits)` [B], and the gradient of each image's value with respect to
    the image.

    Half precision is widened to float32 before the objective sees it; float64 stays float64.
    """

    def total(images: Images) -> tuple:
        logits = logits_fn(images)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        values = value(logits)
        return values.sum(), (logits, values)

    gradient, (logits, values) = jax.grad(total, has_aux=True)(images)
    return logits, values, gradient

"""A network as a table: every layer with its output, parameters and arithmetic."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fer_jax import models
from fer_jax.types import IMAGE_SIZE


class Layer(NamedTuple):
    name: str
    output: tuple[int, ...]  # its shape, without the batch
    parameters: int  # trained ones
    multiply_adds: int  # per image, of convolutions and dense layers


def layers(architecture: dict[str, Any]) -> list[Layer]:
    """List a network's parametrised layers for a 48x48 image, in order; nothing is computed."""
    model = models.create(architecture)
    rows: dict[tuple, Layer] = {}
    calling: list[tuple] = []

    def record(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        path = context.module.path
        calling.append(path)
        output = call(*arguments, **keywords)
        calling.pop()
        if path in calling:  # a layer that calls the one it is derived from counts once
            return output
        named = context.method_name == "__call__" and context.module.name
        parameters = context.module.variables.get("params", {}) if named else {}
        if isinstance(output, jax.Array) and parameters:
            size = sum(leaf.size for leaf in jax.tree.leaves(parameters))
            kernel_size = parameters["kernel"].size if "kernel" in parameters else 0
            # of one image, which a network with mirror=True turns into two
            work = kernel_size * math.prod(output.shape[:-1])
            if path in rows:  # one that is called again has more work, but no more parameters
                work += rows[path].multiply_adds
            rows[path] = Layer(context.module.name, output.shape[1:], size, work)
        return output

    images = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 1), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(model.init, jax.random.key(0), images)
    return list(rows.values())


def layer_table(architecture: dict[str, Any]) -> str:
    """Return the layers of `{"family": "vgg", "stages": [[32, 32]]}` as text, with totals."""
    rows = layers(architecture)
    lines = [f"{'layer':12}{'output':>16}{'parameters':>14}{'multiply-adds':>16}"]
    for row in rows:
        output = " x ".join(map(str, row.output))
        lines.append(f"{row.name:12}{output:>16}{row.parameters:>14,}{row.multiply_adds:>16,}")
    parameters, work = (sum(column) for column in list(zip(*rows, strict=True))[2:])
    totals = f"{'total':28}{parameters:>14,}{work:>16,}"
    return "\n".join([*lines, f"{totals}  = {2 * work / 1e6:,.1f} MFLOP an image"])

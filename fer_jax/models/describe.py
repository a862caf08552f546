"""A network as a table: every layer with its output, parameters and arithmetic.

print(layer_table({"family": "vgg", "stages": [[32, 32], [64, 64]], "dropout": 0.3}))
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fer_jax import models
from fer_jax.types import IMAGE_SIZE


class Layer(NamedTuple):
    """One layer's name, output shape without the batch, trained parameters and multiply-adds per
    image.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layers(architecture: dict[str, Any]) -> list[Layer]:
    """The parametrised layers of a network for one 48x48 image, in order of execution; nothing is
    computed.

    Multiply-adds are those of convolutions and dense layers; elementwise work is left out, as is
    usual.
    """
    model = models.create(architecture)
    found: list[Layer] = []

    def record(
        call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext
    ) -> Any:
        output = call(*arguments, **keywords)
        if (
            context.method_name == "__call__"
            and context.module.name
            and isinstance(output, jax.Array)
        ):
            found.append(_layer(context.module, output))
        return output

    images = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 1), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(model.init, jax.random.key(0), images)
    return [layer for layer in found if layer.parameters]


def layer_table(architecture: dict[str, Any]) -> str:
    """The layers as text, with totals."""
    rows = layers(architecture)
    lines = [f"{'layer':12}{'output':>16}{'parameters':>14}{'multiply-adds':>16}"]
    for row in rows:
        output = " x ".join(map(str, row.output))
        lines.append(f"{row.name:12}{output:>16}{row.parameters:>14,}{row.multiply_adds:>16,}")
    parameters, work = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    lines.append(
        f"{'total':28}{parameters:>14,}{work:>16,}  = {2 * work / 1e6:,.1f} MFLOP an image"
    )
    return "\n".join(lines)


def _layer(module: nn.Module, output: jax.Array) -> Layer:
    parameters = module.variables.get("params", {})
    kernel = parameters.get("kernel")
    positions = math.prod(output.shape[1:-1])
    return Layer(
        name=module.name or "",
        output=output.shape[1:],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(parameters)),
        multiply_adds=0 if kernel is None else kernel.size * positions,
    )

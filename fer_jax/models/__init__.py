"""Model families by name; the only place that imports flax.linen.

model = create({"family": "vgg", "stages": [[32, 32], [64, 64]], "dropout": 0.3})
logits = model.apply(variables, images, train=False)   # [B,48,48,1] in [0,1] -> [B,7]
"""

import inspect
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fer_jax.errors import InputError
from fer_jax.models import vgg

FAMILIES = {"vgg": vgg.Model}


def create(architecture: dict[str, Any], dtype: Any = jnp.float32) -> nn.Module:
    """The flax module that an architecture (builtins only, as a model file stores it) describes.

    Args:
        architecture: "family" and the family's own fields.
        dtype: of the activations; parameters and logits are float32 always.

    Raises:
        InputError: the family, a field or a field's value is not known to it.
    """
    fields = dict(architecture)
    family = fields.pop("family", None)
    if family not in FAMILIES:
        raise InputError(f"unknown model family {family!r}: expected one of {', '.join(FAMILIES)}")
    known = set(inspect.signature(FAMILIES[family]).parameters) - {"dtype", "parent", "name"}
    if unknown := sorted(set(fields) - known):
        raise InputError(
            f"model family {family}: unknown field {unknown[0]!r}, known are {', '.join(sorted(known))}"
        )
    try:
        return FAMILIES[family](**_frozen(fields), dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"model family {family}: {error}") from None


def _frozen(value: Any) -> Any:
    """Lists as tuples all the way down: a flax module's fields must be hashable."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value

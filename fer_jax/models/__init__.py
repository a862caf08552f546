"""Model families by name; the only folder that imports flax.linen.

    model = create({"family": "vgg", "stages": [[32, 32], [64, 64]], "dropout": 0.3})
    logits = model.apply(variables, images, train=False)   # [B, 48, 48, 1] in [0, 1] -> [B, 7]

A family is one file with one flax module, entered in `FAMILIES`. What the rest of the package
expects of the module:

- its fields are builtins (tuples in place of lists), with defaults where one makes sense, and
  `dtype`, that of the activations; a wrong value raises `ValueError`
- it has, as fields or properties, `classes`, the number of logits; `channels` of an image;
  `crop`, the side of the central square that it looks at; and `smallest_side` that it can take
- `__call__(images, train=False)` turns float32 images [B, H, W, channels] in [0, 1], normalised by
  the module itself, into float32 logits [B, classes]; it keeps parameters in "params", running
  statistics (if it has any) in "batch_stats", and takes dropout's randomness from "dropout"
- its last layer is called "logits", if training is to start from a network of other classes
"""

import inspect
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fer_jax.errors import InputError
from fer_jax.models import vgg

FAMILIES = {"vgg": vgg.Model}


def create(architecture: dict[str, Any], dtype: Any = jnp.float32) -> nn.Module:
    """Return the flax module of "family" and its own fields; InputError: any of them unknown.

    Activations are of `dtype`; parameters and logits are float32 always.
    """
    fields = dict(architecture)
    family = fields.pop("family", None)
    if not isinstance(family, str) or family not in FAMILIES:
        raise InputError(f"unknown model family {family!r}: expected one of {', '.join(FAMILIES)}")
    known = set(inspect.signature(FAMILIES[family]).parameters) - {"dtype", "parent", "name"}
    if unknown := sorted(set(fields) - known):
        rule = f"unknown field {unknown[0]!r}, known are {', '.join(sorted(known))}"
        raise InputError(f"model family {family}: {rule}")
    try:
        values = {name: _frozen(value) for name, value in fields.items()}
        return FAMILIES[family](**values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"model family {family}: {error}") from None


def _frozen(value: Any) -> Any:
    """Turn lists into tuples all the way down: a flax module's fields must be hashable."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value

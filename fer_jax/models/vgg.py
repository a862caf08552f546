"""A VGG for small faces: 3x3 convolutions with batch norm, 2x2 pooling, one dense layer.

After Simonyan & Zisserman, "Very Deep Convolutional Networks", https://arxiv.org/abs/1409.1556,
with batch norm, and with a global average in place of the large dense layers, so that the network
takes faces of any size (training may start on small ones).
"""

from itertools import chain
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fer_jax.labels import NUM_CLASSES
from fer_jax.models.layers import batch_norm_relu, convolve, max_pool
from fer_jax.types import IMAGE_SIZE

PIXEL_MEAN, PIXEL_STD = 0.508, 0.255  # of FER-2013's training pixels in [0, 1]


class Model(nn.Module):
    """Images [B, H, W, 1] of any size -> logits [B, classes]."""

    stages: tuple[tuple[int, ...], ...]  # channels of each convolution; a stage ends in the pooling
    dropout: float = 0.0  # share of the pooled features that is dropped in training, in [0, 1)
    crop: int = IMAGE_SIZE  # the side of a central square: outer pixels show hair and background
    classes: int = NUM_CLASSES
    mirror: bool = False  # out of training, the mean of the logits of an image and its mirror image
    dtype: Any = jnp.float32
    channels = 1  # no field: images are grey

    def __post_init__(self):
        stages = self.stages if isinstance(self.stages, tuple) else ()
        full = bool(stages) and all(isinstance(stage, tuple) and stage for stage in stages)
        if not full or not all(type(width) is int and width > 0 for width in chain(*stages)):
            raise ValueError(f"stages must be lists of positive widths, received {self.stages!r}")
        if not (isinstance(self.dropout, int | float) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout must be in [0, 1), received {self.dropout!r}")
        if not (type(self.crop) is int and 16 <= self.crop <= IMAGE_SIZE):
            rule = f"crop must be an integer in [16, {IMAGE_SIZE}]"
            raise ValueError(f"{rule}, received {self.crop!r}")
        if self.crop < self.smallest_side:
            rule = f"stages must be so few that a side of {self.crop} is left after halving"
            raise ValueError(f"{rule}, are {len(self.stages)}")
        if not (type(self.classes) is int and self.classes >= 2):
            raise ValueError(f"classes must be an integer >= 2, received {self.classes!r}")
        if not isinstance(self.mirror, bool):
            raise ValueError(f"mirror must be True or False, received {self.mirror!r}")
        super().__post_init__()

    @property
    def smallest_side(self) -> int:
        """Return the side of which something is left after every stage has halved it."""
        return 2 ** len(self.stages)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        margin = max(0, images.shape[1] - self.crop) // 2
        images = images[:, margin : margin + self.crop, margin : margin + self.crop]
        both = self.mirror and not train
        images = jnp.concatenate([images, images[:, :, ::-1]]) if both else images
        x = ((images - PIXEL_MEAN) / PIXEL_STD).astype(self.dtype)
        for i, stage in enumerate(self.stages):
            for j, width in enumerate(stage):
                x = convolve(x, width, self.dtype, f"conv{i + 1}_{j + 1}")
                x = batch_norm_relu(x, train, self.dtype, f"norm{i + 1}_{j + 1}")
            x = max_pool(x)
        x = x.mean(axis=(1, 2), dtype=jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = nn.Dense(self.classes, name="logits")(x)
        return logits.reshape(2, -1, self.classes).mean(axis=0) if both else logits

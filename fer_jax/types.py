"""Array and function types that the package shares, and what all networks have in common.

Images are float32 in [0, 1], NHWC, one channel; the normalisation is part of the model.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Images = jax.Array | np.ndarray  # float32 [B, 48, 48, 1] in [0, 1]
Logits = jax.Array  # float32 [B, C], unnormalised log-probabilities
Labels = jax.Array | np.ndarray  # int [B] in 0..C-1
Variables = dict[str, Any]  # flax variables: {"params": ..., "batch_stats": ...}
LogitsFn = Callable[[Images], Logits]
# (key, logits_fn, images, labels) -> images
Attack = Callable[[jax.Array, LogitsFn, Images, Labels], Images]

IMAGE_SIZE = 48
# No network that learned anything needs another; a model file with another one is refused.
TEMPERATURES = (0.05, 20.0)

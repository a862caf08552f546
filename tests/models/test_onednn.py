"""oneDNN's layers, in a training process of their own, against plain XLA's in a process without."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fer_jax import runtime

pytestmark = pytest.mark.skipif(
    not (runtime.tuned() and runtime._onednn_pays()),
    reason="no oneDNN in jaxlib, or no bfloat16 in the processor",
)

LAYERS = """
import sys
from fer_jax import runtime
if sys.argv[1] != "plain":
    runtime.configure(training=True)
import jax, jax.numpy as jnp, numpy as np
import flax.linen as nn
from fer_jax.models import convolution, layers

dtype = jnp.dtype(sys.argv[2])
plain = sys.argv[1] == "plain"
convolve = convolution.plain if plain else convolution.turned
pool = (lambda x: nn.max_pool(x, (2, 2), (2, 2))) if plain else layers.max_pool

def norm(x, scale, bias):
    if not plain:
        return layers.normalised_relu(x, scale, bias)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return nn.relu(scale * (x - mean) / jnp.sqrt(var + layers.EPSILON) + bias), mean, var

def draw(*shape):
    numbers = np.random.default_rng(len(shape) + sum(shape)).normal(size=shape)
    return np.float32(jnp.asarray(numbers, jnp.bfloat16))  # the same for both types

found = {}
def record(name, function, *operands):
    y, pull_back = jax.vjp(function, *operands)
    y0 = y[0] if isinstance(y, tuple) else y
    weights = jnp.asarray(draw(*y0.shape), y0.dtype)
    rest = tuple(jnp.zeros_like(each) for each in y[1:]) if isinstance(y, tuple) else None
    gradients = pull_back(weights if rest is None else (weights, *rest))
    leaves = [*(y if isinstance(y, tuple) else [y]), *gradients]
    found.update({f"{name} {i}": np.float32(leaf) for i, leaf in enumerate(leaves)})

for side, inputs, outputs in ((12, 1, 32), (12, 32, 48), (5, 64, 96), (3, 16, 16)):
    x, kernel = draw(32, side, side, inputs), draw(3, 3, inputs, outputs) / 16
    record(f"conv {side} {inputs}", convolve, jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))
x, scale, bias = draw(32, 7, 6, 24), draw(24), draw(24)
record("norm", norm, jnp.asarray(x, dtype), jnp.asarray(scale), jnp.asarray(bias))
order = np.random.default_rng(0).permuted(np.tile(np.arange(49.0), (16, 8, 1)), axis=2)
record("pool", pool, jnp.asarray(order.reshape(16, 8, 7, 7).transpose(0, 2, 3, 1), dtype))
np.savez(sys.argv[3], **found)
"""


def outcome(path, process: str, dtype: str) -> dict[str, np.ndarray]:
    ours = ("XLA_FLAGS", "FER_JAX_CONFIGURED", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-W", "error", "-c", LAYERS, process, dtype, str(path)]
    subprocess.run(command, check=True, env=environment)
    return dict(np.load(path))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return outcome(tmp_path_factory.mktemp("plain") / "plain.npz", "plain", "float32")


@pytest.mark.parametrize(("dtype", "share"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_every_layer_and_its_gradients_are_plain_xlas(tmp_path, plain, dtype, share):
    found = outcome(tmp_path / "found.npz", "training", dtype)
    assert found.keys() == plain.keys()
    for name, expected in plain.items():
        error = np.sqrt(np.square(found[name] - expected).mean())
        assert error < share * np.sqrt(np.square(expected).mean()), name

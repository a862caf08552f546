"""The torch copy of our network, and pyautoattack's stages on it."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import models
from fer_jax.attacks import NORMS
from fer_jax.attacks.square import eta, square_sides
from fer_jax.errors import InputError
from fer_jax.models.model_file import ModelFile

missing = [name for name in ("torch", "pyautoattack") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(
        bool(missing), reason=f"needs {' and '.join(missing)}, of the extra `oracles`"
    ),
    pytest.mark.filterwarnings("ignore"),  # of libraries that are not ours
]
ARCHITECTURE = {"family": "vgg", "stages": [[4, 6], [8]], "dropout": 0.3, "crop": 43}


@pytest.fixture(scope="module")
def model():
    """Random weights, and statistics and scales that are none of batch norm's initial ones."""
    shapes = models.create(ARCHITECTURE).init(
        jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32), train=False
    )
    random = np.random.default_rng(0)
    draw = lambda leaf: random.uniform(0.2, 1.2, leaf.shape).astype(np.float32)
    variables = jax.tree.map(
        lambda leaf: draw(leaf) if leaf.ndim == 1 else np.asarray(leaf), shapes
    )
    return ModelFile(ARCHITECTURE, variables, {})


def test_the_torch_copy_gives_our_logits(record, model):
    oracle = record.load_torch_oracle()
    images = np.random.default_rng(1).uniform(0, 1, (5, 48, 48, 1)).astype(np.float32)
    expected = models.create(ARCHITECTURE).apply(model.variables, images, train=False)
    found = oracle.logits(oracle.network(model), images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-3


def test_a_network_that_the_copy_does_not_know_is_refused(record, model):
    for change in ({"family": "resnet"}, {"squeeze": 4}):
        other = ModelFile({**ARCHITECTURE, **change}, model.variables, {})
        with pytest.raises(InputError, match="made for vgg"):
            record.load_torch_oracle().network(other)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_record_is_what_pyautoattack_does(record, norm):
    """The first stage stands for all: the others take much longer."""
    oracle, recorded = record.load_torch_oracle(), np.load(record.AUTOATTACK)
    network, labels = record.torch_network(recorded), recorded["labels"]
    attack = oracle.stages(network, record.AUTOATTACK_EPS[norm], norm, record.STEPS)["apgd-ce"]
    broken = oracle.logits(network, attack(recorded["images"], labels)).argmax(axis=1) != labels
    assert (broken != recorded[f"{norm} apgd-ce"]).sum() <= 1


def test_squares_have_pyautoattacks_pattern_and_sides():
    torch, square = pytest.importorskip("torch"), pytest.importorskip("pyautoattack.square")
    theirs = square.SquareAttack(None, norm="L2", device="cpu")
    torch.manual_seed(0)
    turned = set()
    for side in (3, 5, 9, 9, 9, 9, 43):
        pixels = jnp.arange(side)
        down, right = pixels[None, :, None, None], pixels[None, None, :, None]
        ours = [
            np.asarray(eta(*given, side))[0, :, :, 0] for given in ((down, right), (right, down))
        ]
        expected = theirs.eta(side).numpy()
        equal = [np.allclose(each, expected, atol=1e-6) for each in ours]
        assert any(equal)
        turned.add(equal.index(True))
    assert turned == {0, 1}


@pytest.mark.parametrize("queries", [200, 5000])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_squares_shrink_when_pyautoattacks_do(record, queries, norm):
    theirs = record.load_torch_oracle().stages(None, 0.1, norm, queries=queries)["square"].args[0]
    shares = np.array([theirs.p_selection(query) for query in range(queries)])
    # and from there, as its `attack_single_run` goes on
    expected = np.rint(np.sqrt(shares) * 48).astype(int)
    expected = np.maximum(expected, 1) if norm == "linf" else np.maximum(expected, 3) // 2 * 2 + 1
    np.testing.assert_array_equal(square_sides(queries, 0.8, (48, 48), NORMS[norm]), expected)

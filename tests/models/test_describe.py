import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from fer_jax import models
from fer_jax.models import describe, layers

TINY = {"family": "vgg", "stages": [[4, 4], [6]], "dropout": 0.5}


def test_the_table_is_the_closed_form():
    rows = {layer.name: layer for layer in describe.layers(TINY)}
    assert list(rows) == [
        "conv1_1",
        "norm1_1",
        "conv1_2",
        "norm1_2",
        "conv2_1",
        "norm2_1",
        "logits",
    ]
    assert rows["conv1_2"] == ("conv1_2", (48, 48, 4), 9 * 4 * 4, 48 * 48 * 9 * 4 * 4)
    assert rows["norm2_1"] == ("norm2_1", (24, 24, 6), 12, 0)
    assert rows["logits"] == ("logits", (7,), 6 * 7 + 7, 6 * 7)


@pytest.mark.parametrize("cpu", [True, False])
def test_parameters_are_those_of_the_network(monkeypatch, cpu):
    monkeypatch.setattr(layers, "on_cpu", lambda: cpu)
    variables = models.create(TINY).init(jax.random.key(0), jnp.zeros((1, 48, 48, 1)))
    assert sum(row.parameters for row in describe.layers(TINY)) == sum(
        x.size for x in jax.tree.leaves(variables["params"])
    )


def test_multiply_adds_agree_with_the_compilers_count():
    model = models.create(TINY)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 48, 48, 1)))
    compiled = jax.jit(model.apply).lower(variables, jnp.zeros((1, 48, 48, 1))).compile()
    flops = compiled.cost_analysis()["flops"]
    assert 2 * sum(row.multiply_adds for row in describe.layers(TINY)) == pytest.approx(
        flops, rel=0.1
    )


def test_a_mirroring_network_has_twice_the_work_and_the_same_parameters():
    one, both = (describe.layers({**TINY, "mirror": mirror}) for mirror in (False, True))
    assert [row.parameters for row in one] == [row.parameters for row in both]
    assert [2 * row.multiply_adds for row in one] == [row.multiply_adds for row in both]


class Twice(nn.Module):
    classes: int = 7
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, images, train=False):
        shared = nn.Conv(1, (3, 3), use_bias=False, name="shared")
        return nn.Dense(self.classes, name="logits")(shared(shared(images)).mean(axis=(1, 2)))


def test_a_layer_that_is_called_twice_has_twice_the_work_and_its_parameters_once(monkeypatch):
    monkeypatch.setitem(models.FAMILIES, "twice", Twice)
    shared = describe.layers({"family": "twice"})[0]
    assert shared == ("shared", (48, 48, 1), 9, 2 * 48 * 48 * 9)

"""Our attacks against what foolbox and pyautoattack did to the same small network; needs neither
library.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from fer_jax.attacks import NORMS, auto

DIFFERENT = 2  # images of 32 that other random starts and squares may break, or not


@pytest.fixture(scope="module")
def foolbox(record):
    return np.load(record.GRADIENT)


@pytest.fixture(scope="module")
def pyautoattack(record):
    return np.load(record.AUTOATTACK)


def network(record, inputs):
    return Partial(
        record.small_logits,
        {name: jnp.asarray(inputs[name]) for name in ("first", "second", "dense")},
    )


def test_every_pixel_is_foolboxs(record, foolbox, case):
    labels = (foolbox["labels"] + 1) % record.CLASSES if case.targeted else foolbox["labels"]
    found = record.our_images(case, network(record, foolbox), foolbox["images"], labels)
    np.testing.assert_allclose(found, foolbox[case.name], rtol=0, atol=1e-6)
    assert np.abs(found - foolbox["images"]).max() > 0.9 * case.step_size / (
        1 if case.norm == "linf" else record.SIDE
    )


# most of it is compiling
@pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.slow)])
def test_each_stage_of_autoattack_breaks_as_many_images_as_pyautoattacks(
    record, pyautoattack, norm
):
    logits_fn, images, labels = (
        network(record, pyautoattack),
        pyautoattack["images"],
        pyautoattack["labels"],
    )
    eps = record.AUTOATTACK_EPS[norm]
    ours, theirs = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for stage, attack in auto.stages(eps, NORMS[norm], record.STEPS, record.QUERIES).items():
        found = attack(jax.random.key(0), logits_fn, images, labels)
        assert (NORMS[norm].size(found - images) <= eps + 1e-6).all()
        broken, expected = (
            np.asarray(logits_fn(found).argmax(axis=1)) != labels,
            pyautoattack[f"{norm} {stage}"],
        )
        assert abs(int(broken.sum()) - int(expected.sum())) <= DIFFERENT, stage
        ours, theirs = ours | broken, theirs | expected
    assert 0.3 < theirs.mean() < 0.7
    assert (ours != theirs).sum() <= 1

"""What holds of every attack, whatever the images, on linear networks of any scale: the invariants
of attacks.
"""

import contextlib
import functools

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

from fer_jax import attacks
from fer_jax.attacks import l1, l2, linf, margin

STEPS = {"step_size": 0.01, "steps": 5}
# eps -> attack; the norm, and how many times eps it may use, so that all are of about one force
WITHIN = {
    "fgsm": (lambda eps: functools.partial(attacks.fgsm, eps=eps), linf, 1),
    "fgsm-rs": (lambda eps: functools.partial(attacks.fgsm, eps=eps, random_start=True), linf, 1),
    "bim": (lambda eps: functools.partial(attacks.bim, eps=eps, **STEPS), linf, 1),
    "mifgsm": (lambda eps: functools.partial(attacks.mifgsm, eps=eps, **STEPS), linf, 1),
    "pgd": (lambda eps: functools.partial(attacks.pgd, eps=eps, restarts=2, **STEPS), linf, 1),
    "pgd-l2": (lambda eps: functools.partial(attacks.pgd, eps=8 * eps, norm=l2, **STEPS), l2, 8),
    "pgd-l1": (lambda eps: functools.partial(attacks.pgd, eps=40 * eps, norm=l1, **STEPS), l1, 40),
    "apgd": (lambda eps: functools.partial(attacks.apgd, eps=eps, steps=20), linf, 1),
    "apgd-l2": (lambda eps: functools.partial(attacks.apgd, eps=8 * eps, steps=20, norm=l2), l2, 8),
    "apgd-t": (
        lambda eps: functools.partial(attacks.apgd_targeted, eps=eps, steps=20, targets=2),
        linf,
        1,
    ),
    "fab-t": (
        lambda eps: functools.partial(attacks.fab_targeted, eps=eps, steps=3, targets=2),
        linf,
        1,
    ),
    "fab-t-l2": (
        lambda eps: functools.partial(
            attacks.fab_targeted, eps=8 * eps, steps=3, targets=2, norm=l2
        ),
        l2,
        8,
    ),
    "square": (lambda eps: functools.partial(attacks.square, eps=eps, queries=20), linf, 1),
    "square-l2": (
        lambda eps: functools.partial(attacks.square, eps=8 * eps, queries=20, norm=l2),
        l2,
        8,
    ),
    "autoattack": (
        lambda eps: functools.partial(
            attacks.autoattack, eps=eps, steps=10, queries=20, batch_size=5
        ),
        linf,
        1,
    ),
    "universal": (
        lambda eps: functools.partial(attacks.universal, eps=eps, batch_size=4, **STEPS),
        linf,
        1,
    ),
    "uniform": (lambda eps: functools.partial(attacks.uniform, eps=eps), linf, 1),
}
SMALLEST = {  # eps -> attack, of which it knows nothing; the norm
    "deepfool": (lambda eps: functools.partial(attacks.deepfool, steps=5), l2),
    "deepfool-linf": (lambda eps: functools.partial(attacks.deepfool, steps=5, norm=linf), linf),
    "cw": (lambda eps: functools.partial(attacks.cw, steps=10, searches=3), l2),
    "ddn": (lambda eps: functools.partial(attacks.ddn, steps=10), l2),
    "fmn": (lambda eps: functools.partial(attacks.fmn, steps=10), l2),
    "fmn-linf": (lambda eps: functools.partial(attacks.fmn, steps=10, norm=linf), linf),
}
MAKE = {name: make for name, (make, *_) in (WITHIN | SMALLEST).items()}
TOGETHER = ("autoattack", "universal")  # what becomes of an image depends on the others
DRAWN = (
    "fgsm-rs",
    "pgd",
    "pgd-l2",
    "pgd-l1",
    "apgd",
    "apgd-l2",
    "apgd-t",
    "square",
    "square-l2",
    "uniform",
)

KINDS = {
    "any": lambda random, shape: random.uniform(0, 1, shape),
    "black and white": lambda random, shape: random.integers(0, 2, shape),
    "constant": lambda random, shape: np.full(shape, random.uniform()),
}
# of the logits: as they are, no gradient at all, hardly one, saturated
SCALES = (1.0, 0.0, 1e-6, 1e4)
few = settings(max_examples=6, deadline=None, derandomize=True)
cases = given(
    st.integers(0, 2**16), st.sampled_from([*KINDS]), st.sampled_from(SCALES), st.booleans()
)


def case(linear, seed, kind, scale, right):
    """A network, images and labels, the network's own or any."""
    random = np.random.default_rng(seed)
    logits_fn = Partial(linear.logits_fn.func, scale * linear.weights, scale * linear.bias)
    images = jnp.asarray(KINDS[kind](random, linear.images.shape), jnp.float32)
    labels = (
        logits_fn(images).argmax(axis=1)
        if right
        else jnp.asarray(random.integers(0, 7, len(images)), jnp.int32)
    )
    return logits_fn, images, labels


def assert_image(hacked, images):
    assert hacked.shape == images.shape and hacked.dtype == jnp.float32
    assert jnp.isfinite(hacked).all() and hacked.min() >= 0 and hacked.max() <= 1


@pytest.mark.parametrize("name", WITHIN)
@few
@cases
def test_a_bounded_attack_stays_in_ball_and_box_and_repeats_itself(
    linear, name, seed, kind, scale, right
):
    make, norm, times = WITHIN[name]
    given = case(linear, seed, kind, scale, right)
    eps = (0.0, 0.004, 0.1, 1.0)[seed % 4]
    hacked = make(eps)(jax.random.key(seed), *given)
    assert_image(hacked, given[1])
    assert (norm.size(jnp.asarray(hacked - given[1])) <= times * eps + 1e-5 * times).all()
    np.testing.assert_array_equal(make(eps)(jax.random.key(seed), *given), hacked)


@pytest.mark.parametrize("name", WITHIN)
def test_no_room_is_no_change(linear, name):
    hacked = MAKE[name](0.0)(jax.random.key(0), linear.logits_fn, linear.images, linear.labels)
    np.testing.assert_array_equal(hacked, linear.images)


@pytest.mark.parametrize("name", SMALLEST)
@few
@cases
def test_a_smallest_change_is_a_success_or_none_and_repeats_itself(
    linear, name, seed, kind, scale, right
):
    make, norm = SMALLEST[name]
    logits_fn, images, labels = case(linear, seed, kind, scale, right)
    hacked = make(None)(jax.random.key(seed), logits_fn, images, labels)
    assert_image(hacked, images)
    sizes = norm.size(jnp.asarray(hacked - images))
    before, after = (margin(logits_fn(each), labels) for each in (images, hacked))
    assert (after[sizes > 0] >= -1e-5 * scale).all()  # on the boundary the network may say either
    # what is wrong already needs no change; C&W's goes through tanh and back
    assert (sizes[before > 0] <= 1e-4).all()
    np.testing.assert_array_equal(
        make(None)(jax.random.key(seed), logits_fn, images, labels), hacked
    )


@pytest.mark.parametrize("name", [name for name in MAKE if name not in TOGETHER])
def test_an_image_is_attacked_the_same_whatever_is_beside_it(linear, name):
    images, labels, attack = linear.images, linear.labels, MAKE[name](0.01)
    hacked = attack(jax.random.key(0), linear.logits_fn, images, labels)
    beside = attack(
        jax.random.key(0),
        linear.logits_fn,
        images.at[0].set(1 - images[5]),
        labels.at[0].set(labels[0] ^ 1),
    )
    np.testing.assert_array_equal(hacked[1:], beside[1:])
    if name not in DRAWN:
        turned = attack(jax.random.key(1), linear.logits_fn, images[::-1], labels[::-1])
        np.testing.assert_allclose(hacked, turned[::-1], atol=1e-5)


@pytest.mark.parametrize("name", DRAWN)
def test_another_key_draws_other_numbers(linear, name):
    first, second = (
        MAKE[name](0.01)(jax.random.key(k), linear.logits_fn, linear.images, linear.labels)
        for k in (0, 1)
    )
    assert (jnp.abs(first - second).max(axis=(1, 2, 3)) > 0).any()


@contextlib.contextmanager
def traced():
    """What jax meanwhile traces or compiles; single operations outside jit, which it calls "bind",
    are only traced.
    """
    functions = []

    def listen(event: str, duration_secs: float, **details: str | int):
        name = details.get("fun_name")
        if event == "/jax/core/compile/jaxpr_trace_duration" and name != "bind":
            functions.append(f"traced {name}")
        if event == "/jax/core/compile/backend_compile_duration":
            functions.append(f"compiled {name}")

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield functions
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_what_is_traced_and_compiled_is_counted():
    def more(x):
        return x + 1

    with traced() as functions:
        jax.jit(more)(1.0)
    assert functions[0] == "traced more" and any(
        entry.startswith("compiled") for entry in functions
    )


@pytest.mark.parametrize("name", MAKE)
def test_a_second_call_traces_nothing(linear, name):
    """Of other images, labels, weights, random numbers and eps, too."""
    other = Partial(linear.logits_fn.func, 1.5 * linear.weights, linear.bias)
    images = linear.images[::-1]
    labels = other(images).argmax(axis=1)
    keys = jax.random.key(0), jax.random.key(1)
    MAKE[name](0.001)(keys[0], linear.logits_fn, linear.images, linear.labels)
    with traced() as functions:
        MAKE[name](0.002)(keys[1], other, images, labels)
    assert functions == []

"""Losses of a training step: on the images as they are, or on what an adversary makes of them.

    loss_fn = make_loss(model.apply, Adversary(method="pgd", eps=4 / 255, steps=7))
    loss, (batch_stats, logits) = loss_fn(params, batch_stats, key, images, targets)

All have one signature: images float32 [B, H, W, 1] in [0, 1], targets float32 [B, C], a scalar
loss; logits are those of the pass that is trained on. The adversary sees the network in evaluation
mode (running statistics, no dropout), as an attacker of the finished network would. Batch
statistics are updated by the passes that are trained on, and by no others: the crafted images'
pass, after it the clean images' pass in TRADES.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks import NORMS, pgd, step_size
from fer_jax.attacks.loop import traced
from fer_jax.config import Adversary
from fer_jax.training import losses
from fer_jax.types import Attack, Images, Labels, LogitsFn

Loss = Callable[
    [Any, Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, tuple[Any, jax.Array]]
]
_TRADES_START = 0.001  # standard deviation: at the image itself the divergence has no gradient
_JUDGE_STEPS = 10
_JUDGED_TOGETHER = 256  # images


def make_loss(apply: Callable, settings: Adversary) -> Loss:
    """Return the loss for the adversary's method.

    Sources: Wong et al., "Fast is better than free", ICLR 2020 ("fgsm": one step from a random
    start, https://arxiv.org/abs/2001.03994); Madry et al., "Towards Deep Learning Models Resistant
    to Adversarial Attacks", ICLR 2018 ("pgd", https://arxiv.org/abs/1706.06083); Zhang et al.,
    "Theoretically Principled Trade-off between Robustness and Accuracy", ICML 2019 ("trades",
    https://arxiv.org/abs/1901.08573); Cohen et al., "Certified Adversarial Robustness via
    Randomized Smoothing", ICML 2019 ("noise", https://arxiv.org/abs/1902.02918); Salman et al.,
    "Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers", NeurIPS 2019
    ("smoothadv", https://arxiv.org/abs/1906.04584); Wu et al., "Adversarial Weight Perturbation
    Helps Robust Generalization", NeurIPS 2020 (`settings.awp`, https://arxiv.org/abs/2004.05884).

    Args:
        apply: a flax model's `apply(variables, images, train=...)` with the collections "params"
            and "batch_stats"; the latter is empty for a network without batch norm.
    """

    def trained_pass(params: Any, batch_stats: Any, key: jax.Array, images: jax.Array):
        variables = {"params": params, "batch_stats": batch_stats}
        logits, updates = apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return logits, updates.get("batch_stats", {})

    def clean(params: Any, batch_stats: Any, key: jax.Array, images: jax.Array, targets: jax.Array):
        logits, batch_stats = trained_pass(params, batch_stats, key, images)
        return losses.cross_entropy(logits, targets).mean(), (batch_stats, logits)

    def adversarial(
        params: Any, batch_stats: Any, key: jax.Array, images: jax.Array, targets: jax.Array
    ):
        craft_key, key = jax.random.split(key)
        fixed = {"params": jax.lax.stop_gradient(params), "batch_stats": batch_stats}
        logits_fn = lambda images: apply(fixed, images, train=False).astype(jnp.float32)
        crafted = jax.lax.stop_gradient(craft(craft_key, logits_fn, images, targets, settings))

        def outer(params: Any):
            if settings.method != "trades":
                return clean(params, batch_stats, key, crafted, targets)
            crafted_logits, statistics = trained_pass(params, batch_stats, key, crafted)
            loss, (statistics, logits) = clean(params, statistics, key, images, targets)
            apart = divergence(crafted_logits, jax.nn.softmax(logits)).mean()
            return loss + settings.beta * apart, (statistics, logits)

        if settings.awp:
            uphill, _ = jax.grad(outer, has_aux=True)(fixed["params"])
            moves = weight_perturbation(fixed["params"], uphill, settings.awp)
            params = jax.tree.map(jnp.add, params, moves)
        return outer(params)

    return clean if settings.method == "none" else adversarial


def craft(
    key: jax.Array, logits_fn: Callable, images: jax.Array, targets: jax.Array, settings: Adversary
) -> jax.Array:
    """Return the images that the adversary trains the network on, float32 [B, H, W, 1].

    Within eps of `images` and in [0, 1]; not so for "noise", which the smoothed classifier meets
    unclipped, too, and for "smoothadv": images within eps that fool the smoothed classifier (its
    mean over `settings.draws` noises), plus the first of these noises (the paper trains on all of
    them).
    """
    if settings.method == "noise":
        return images + settings.sigma * jax.random.normal(key, images.shape)
    if settings.method == "smoothadv":
        noise = settings.sigma * jax.random.normal(key, (settings.draws, *images.shape))
        smoothed = lambda images: losses.smoothed_log(logits_fn, images, noise)
        value = lambda images: losses.cross_entropy(smoothed(images), targets)
        return _climb(value, images, images, settings) + noise[0]
    if settings.method == "trades":
        clean = jax.nn.softmax(logits_fn(images))
        value = lambda images: divergence(logits_fn(images), clean)
        start = images + _TRADES_START * jax.random.normal(key, images.shape)
    else:
        value = lambda images: losses.cross_entropy(logits_fn(images), targets)
        start = images + NORMS[settings.norm].random_start(key, images.shape, settings.eps)
    return _climb(value, images, start, settings)


def _climb(value: Callable, images: jax.Array, start: jax.Array, settings: Adversary) -> jax.Array:
    """Steps uphill on `value(images)` [B] from `start`, in the ball around `images` and the box."""
    norm = NORMS[settings.norm]
    uphill = jax.grad(lambda images: value(images).sum())
    best = jnp.clip(start, 0, 1)
    # not a loop of XLA's: on a CPU that would run convolutions on one thread
    for _ in range(settings.steps):
        moved = best + settings.step_size * settings.eps * norm.steepest(uphill(best))
        best = jnp.clip(images + norm.project(moved - images, settings.eps), 0, 1)
    return best


def divergence(logits: jax.Array, probabilities: jax.Array) -> jax.Array:
    """Return KL(probabilities || softmax(logits)) in nats, [B], of arrays [B, C]."""
    negative_entropy = jax.scipy.special.xlogy(probabilities, probabilities).sum(axis=-1)
    return losses.cross_entropy(logits, probabilities) + negative_entropy


def weight_perturbation(params: Any, gradient: Any, share: float) -> Any:
    """Return a step uphill for each kernel, `share` times as long as the kernel itself.

    Scales and biases get zeros.
    """

    def step(weights: jax.Array, gradient: jax.Array) -> jax.Array:
        if weights.ndim < 2:
            return jnp.zeros_like(weights)
        length = jnp.linalg.norm(gradient.ravel())
        return share * gradient * jnp.linalg.norm(weights.ravel()) / jnp.maximum(length, 1e-12)

    return jax.tree.map(step, params, gradient)


def judge(settings: Adversary) -> Attack:
    """Return what stands for the adversary where a network is judged after every epoch.

    That is PGD-10 in its ball, a draw of its noise, or both. One-step training can be won by a
    network that fools one step only; PGD sees that.
    """
    if settings.method == "noise":
        noise = lambda key, images: settings.sigma * jax.random.normal(key, images.shape)
        return lambda key, logits_fn, images, labels: images + noise(key, images)
    if settings.method == "smoothadv":
        return functools.partial(_judge_smoothed, settings)
    size = step_size(settings.eps, _JUDGE_STEPS)
    norm = NORMS[settings.norm]
    return functools.partial(pgd, eps=settings.eps, step_size=size, steps=_JUDGE_STEPS, norm=norm)


def _judge_smoothed(
    settings: Adversary, key: jax.Array, logits_fn: LogitsFn, images: Images, labels: Labels, /
) -> Images:
    return _judged_smoothed(settings, key, traced(logits_fn), images, labels)


# one function for all epochs: each would compile anew
@functools.partial(jax.jit, static_argnums=0)
def _judged_smoothed(
    settings: Adversary, key: jax.Array, logits_fn: Callable, images: jax.Array, labels: jax.Array
):
    size = step_size(1.0, _JUDGE_STEPS)
    stronger = dataclasses.replace(settings, steps=_JUDGE_STEPS, step_size=size)
    targets = jax.nn.one_hot(labels, logits_fn(images).shape[-1])
    return craft(key, logits_fn, images, targets, stronger)


def robust_accuracy(
    settings: Adversary, logits_fn: LogitsFn, images: np.ndarray, labels: np.ndarray
) -> float:
    """Return the share of faces that are still right under `judge`'s attack, in [0, 1].

    Args:
        images: uint8 [N, 48, 48]; `labels` are int [N].
    """
    attack, right = judge(settings), []
    for start in range(0, len(labels), _JUDGED_TOGETHER):
        rows = slice(start, start + _JUDGED_TOGETHER)
        key = jax.random.fold_in(jax.random.key(0), start)
        batch = jnp.asarray(images[rows, ..., None] / np.float32(255))
        hacked = attack(key, logits_fn, batch, jnp.asarray(labels[rows]))
        right.append(np.asarray(logits_fn(hacked)).argmax(axis=1) == labels[rows])
    return float(np.concatenate(right).mean())

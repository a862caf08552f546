"""Losses: of rows, and of a step on the images as they are or on what an adversary makes of them.

    cross_entropy(logits, smooth(jax.nn.one_hot(labels, 7), 0.1)).mean()
    loss_fn = make_loss(model.apply, Adversary(method="pgd", eps=4 / 255, steps=7))
    loss, (batch_stats, logits) = loss_fn(params, batch_stats, key, images, targets)

Images are float32 [B, H, W, 1] in [0, 1], logits and targets float32 [B, C]; a step's logits are
those of the pass that is trained on. The adversary sees the network in evaluation mode, as an
attacker of the finished network would. Batch statistics are updated by the passes that are trained
on, and by no others: the crafted images' pass, after it the clean images' pass in TRADES.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fer_jax.attacks import NORMS, pgd, step_size
from fer_jax.attacks.loop import traced
from fer_jax.config import Adversary
from fer_jax.types import Attack, Images, Labels, Logits, LogitsFn

Loss = Callable[[Any, Any, Array, Array, Array], tuple[Array, tuple[Any, Array]]]
_TRADES_START = 0.001  # standard deviation: at the image itself the divergence has no gradient
_JUDGE_STEPS = 10
_JUDGED_TOGETHER = 256  # images


def smooth(targets: Array, smoothing: float) -> Array:
    """Return targets, a share of which is spread over all classes.

    Source: Szegedy et al., CVPR 2016, section 7 (https://arxiv.org/abs/1512.00567).
    """
    return (1 - smoothing) * targets + smoothing / targets.shape[-1]


def cross_entropy(logits: Logits, targets: Array) -> Array:
    """Return -sum_k targets_k log softmax(logits)_k in nats, [B]; the targets add up to 1."""
    return -(targets * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(axis=-1)


def blend(targets: Array, beliefs: Array, share: Array | float) -> Array:
    """Return targets, a share of which are `beliefs`: a network's probabilities.

    Source: Kim et al., ICCV 2021, equation 4 (https://arxiv.org/abs/2006.12000).
    """
    return (1 - share) * targets + share * beliefs


def smoothed_log(logits_fn: LogitsFn, images: Images, noise: Array) -> Logits:
    """Return the log of the mean probabilities, [B, C], of images [B, ...] with each of M noises.

    They are [M, B, ...], or [M, 1, ...] for the same on every image; all are one batch.
    """
    noisy = images[None] + noise
    logits = logits_fn(noisy.reshape(-1, *images.shape[1:])).astype(jnp.float32)
    logs = jax.nn.log_softmax(logits).reshape(*noisy.shape[:2], -1)
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(len(noise))


def make_loss(apply: Callable, settings: Adversary) -> Loss:
    """Return the loss for the adversary's method, of a flax model's `apply`.

    Sources: "fgsm" (one step from a random start): Wong et al. 2020 (arxiv.org/abs/2001.03994);
    "pgd": Madry et al. 2018 (arxiv.org/abs/1706.06083); "trades": Zhang et al. 2019
    (arxiv.org/abs/1901.08573); "noise": Cohen et al. 2019 (arxiv.org/abs/1902.02918); "smoothadv":
    Salman et al. 2019 (arxiv.org/abs/1906.04584); awp: Wu et al. 2020 (arxiv.org/abs/2004.05884).
    """

    def trained_pass(params, batch_stats, key, images):
        variables = {"params": params, "batch_stats": batch_stats}
        mode = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
        logits, updates = apply(variables, images, **mode)
        return logits, updates.get("batch_stats", {})

    def clean(params, batch_stats, key, images, targets):
        logits, batch_stats = trained_pass(params, batch_stats, key, images)
        return cross_entropy(logits, targets).mean(), (batch_stats, logits)

    def adversarial(params, batch_stats, key, images, targets):
        craft_key, key = jax.random.split(key)
        fixed = {"params": jax.lax.stop_gradient(params), "batch_stats": batch_stats}
        logits_fn = lambda images: apply(fixed, images, train=False).astype(jnp.float32)
        crafted = jax.lax.stop_gradient(craft(craft_key, logits_fn, images, targets, settings))

        def outer(params):
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
    key: Array, logits_fn: Callable, images: Array, targets: Array, settings: Adversary
) -> Array:
    """Return the images that the adversary trains the network on.

    Within eps of `images` and in [0, 1]; not so for "noise", which the smoothed classifier meets
    unclipped, too, and for "smoothadv": images within eps that fool the smoothed classifier (its
    mean over `settings.draws` noises), plus the first of these noises (the paper trains on all).
    """
    if settings.method == "noise":
        return images + settings.sigma * jax.random.normal(key, images.shape)
    if settings.method == "smoothadv":
        noise = settings.sigma * jax.random.normal(key, (settings.draws, *images.shape))
        smoothed = lambda images: smoothed_log(logits_fn, images, noise)
        value = lambda images: cross_entropy(smoothed(images), targets)
        return _climb(value, images, images, settings) + noise[0]
    if settings.method == "trades":
        clean = jax.nn.softmax(logits_fn(images))
        value = lambda images: divergence(logits_fn(images), clean)
        start = images + _TRADES_START * jax.random.normal(key, images.shape)
    else:
        value = lambda images: cross_entropy(logits_fn(images), targets)
        start = images + NORMS[settings.norm].random_start(key, images.shape, settings.eps)
    return _climb(value, images, start, settings)


def _climb(value: Callable, images: Array, start: Array, settings: Adversary) -> Array:
    """Steps uphill on `value(images)` [B] from `start`, in the ball around `images` and the box."""
    norm = NORMS[settings.norm]
    uphill = jax.grad(lambda images: value(images).sum())
    best = jnp.clip(start, 0, 1)
    # not a loop of XLA's: on a CPU that would run convolutions on one thread
    for _ in range(settings.steps):
        moved = best + settings.step_size * settings.eps * norm.steepest(uphill(best))
        best = jnp.clip(images + norm.project(moved - images, settings.eps), 0, 1)
    return best


_craft = jax.jit(craft, static_argnums=4)  # one function for all epochs: each would compile anew


def divergence(logits: Array, probabilities: Array) -> Array:
    """Return KL(probabilities || softmax(logits)) in nats, [B], of arrays [B, C]."""
    negative_entropy = jax.scipy.special.xlogy(probabilities, probabilities).sum(axis=-1)
    return cross_entropy(logits, probabilities) + negative_entropy


def weight_perturbation(params: Any, gradient: Any, share: float) -> Any:
    """Return a step uphill for each kernel, `share` times as long as it; zeros for the rest."""

    def step(weights: Array, gradient: Array) -> Array:
        if weights.ndim < 2:
            return jnp.zeros_like(weights)
        length = jnp.linalg.norm(gradient.ravel())
        return share * gradient * jnp.linalg.norm(weights.ravel()) / jnp.maximum(length, 1e-12)

    return jax.tree.map(step, params, gradient)


def judge(settings: Adversary) -> Attack:
    """Return the attack that judges a network each epoch: PGD-10, a draw of the noise, or both.

    One-step training can be won by a network that fools one step only; PGD sees that.
    """
    if settings.method not in ("noise", "smoothadv"):
        ball = {"eps": settings.eps, "step_size": step_size(settings.eps, _JUDGE_STEPS)}
        return functools.partial(pgd, **ball, steps=_JUDGE_STEPS, norm=NORMS[settings.norm])
    strong = {"steps": _JUDGE_STEPS, "step_size": step_size(1.0, _JUDGE_STEPS)}
    stronger = dataclasses.replace(settings, **strong)

    def attack(key: Array, logits_fn: LogitsFn, images: Images, labels: Labels, /) -> Images:
        classes = jax.eval_shape(logits_fn, images).shape[-1]
        return _craft(key, traced(logits_fn), images, jax.nn.one_hot(labels, classes), stronger)

    return attack


def robust_accuracy(
    settings: Adversary, logits_fn: LogitsFn, images: np.ndarray, labels: np.ndarray
) -> float:
    """Return the share of uint8 faces [N, 48, 48] that are still right under `judge`'s attack."""
    attack, right = judge(settings), []
    for start in range(0, len(labels), _JUDGED_TOGETHER):
        rows = slice(start, start + _JUDGED_TOGETHER)
        key = jax.random.fold_in(jax.random.key(0), start)
        batch = jnp.asarray(images[rows, ..., None] / np.float32(255))
        hacked = attack(key, logits_fn, batch, jnp.asarray(labels[rows]))
        right.append(np.asarray(logits_fn(hacked)).argmax(axis=1) == labels[rows])
    return float(np.concatenate(right).mean())

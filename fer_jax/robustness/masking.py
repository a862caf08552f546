"""Does a network hide its gradient? Then attacks fail for want of a direction, and its robust
accuracy means nothing.

    eps = telling_eps(predictor.logits_fn, images, labels, key=jax.random.key(0), largest=8 / 255)
    found = measure(predictor.logits_fn, images, labels, key=jax.random.key(0), eps=eps)
    print(*suspicions(found), sep="\\n")         # nothing, where nothing is suspicious

The signs are those of Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML
2018, section 3.1, and Carlini et al., "On Evaluating Adversarial Robustness", 2019, section 4.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks import (
    Norm,
    apgd,
    cross_entropy,
    linf,
    pgd,
    square,
    step_size,
    transferred,
    uniform,
)
from fer_jax.attacks.loop import traced, value_and_gradient
from fer_jax.errors import InputError
from fer_jax.evaluation.attacked import broken_by
from fer_jax.evaluation.logits import predict_logits
from fer_jax.types import Attack, LogitsFn

TELLING = 0.3  # accuracy under PGD that leaves room for other attacks to do better, or worse
_HALVINGS = 5
_NEAR_ZERO = 0.05  # accuracy under an attack that may do anything
_MARGIN = 0.05  # difference of accuracies that chance and a finite search explain
_RESTARTS, _RESTARTS_MARGIN = 5, 0.15
_FLAT = 0.01  # share of images
# cross-entropy, in nats, whose gradient is rounding and nothing else
_ROUNDING = 2 * float(np.finfo(np.float32).eps)


class Measured(NamedTuple):
    """Accuracies, in [0, 1], on images that the network gets right when left alone; attacks climb
    cross-entropy.

    Attributes:
        n: how many images those are.
        eps: the size of all perturbations, unless said otherwise.
        steps, queries: of PGD and APGD, and of Square.
        by_eps: eps -> under PGD; eps / 2, eps and 2 eps.
        unbounded: under PGD that may change the images at will.
        one_step: under a single step of length eps.
        restarted: under PGD, the best of five starts.
        white_box, black_box: under APGD, and Square.
        noise: with uniform noise.
        flat: share of images whose gradient is zero, or lost in rounding because the network is too
            sure.
        transfer: under PGD made on another network; None without one.
    """

    n: int
    eps: float
    steps: int
    queries: int
    by_eps: dict[float, float]
    unbounded: float
    one_step: float
    restarted: float
    white_box: float
    black_box: float
    noise: float
    flat: float
    transfer: float | None


def telling_eps(
    logits_fn: LogitsFn,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    key: jax.Array,
    largest: float,
    norm: Norm = linf,
    steps: int = 20,
    batch_size: int = 64,
) -> float:
    """The first of `largest`, a half, a quarter, ... of it at which PGD leaves `TELLING` of what
    the network gets right.

    The smallest that is tried, a 32nd of `largest`, where none does. Arguments as for `measure`.
    """
    options = {"key": key, "norm": norm, "batch_size": batch_size}
    sizes = [largest / 2**halvings for halvings in range(_HALVINGS + 1)]
    for eps in sizes:
        climb = functools.partial(
            pgd, eps=eps, step_size=step_size(eps, steps), steps=steps, norm=norm
        )
        broken = broken_by({"": climb}, logits_fn, images, labels, eps=eps, **options)
        if (broken == 1).sum() >= TELLING * (broken >= 0).sum():
            return eps
    return sizes[-1]


def measure(
    logits_fn: LogitsFn,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    key: jax.Array,
    eps: float,
    norm: Norm = linf,
    steps: int = 20,
    queries: int = 200,
    surrogate: LogitsFn | None = None,
    batch_size: int = 64,
) -> Measured:
    """Attack in the ways whose outcomes an honest gradient puts in order; about 15 times the cost
    of one PGD.

    Args:
        images, labels: uint8 [N, 48, 48] and their true labels int [N]; a hundred are enough.
        eps: at which the network keeps some of its accuracy (`telling_eps`): where all is lost
            there is nothing to be seen.
        norm: Linf or L2.
        surrogate: another network for the same classes.

    Raises:
        InputError: the network gets none of the images right.
    """
    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    if not right.any():
        raise InputError(
            f"the network gets none of the {len(images)} images right: there is nothing to attack"
        )
    images, labels = images[right], np.asarray(labels)[right]

    def accuracy(attack: Attack, size: float = eps) -> float:
        options = {"key": key, "norm": norm, "eps": size, "batch_size": batch_size}
        return float((broken_by({"": attack}, logits_fn, images, labels, **options) == 1).mean())

    climb = lambda size, **more: functools.partial(
        pgd,
        **{"eps": size, "step_size": step_size(size, steps), "steps": steps, "norm": norm} | more,
    )
    everything = float(norm.size(jnp.ones((1, *images.shape[1:], 1)))[0])
    return Measured(
        n=len(images),
        eps=eps,
        steps=steps,
        queries=queries,
        by_eps={size: accuracy(climb(size), size) for size in (eps / 2, eps, 2 * eps)},
        unbounded=accuracy(climb(everything), everything),
        one_step=accuracy(climb(eps, step_size=eps, steps=1, random_start=False)),
        restarted=accuracy(climb(eps, restarts=_RESTARTS)),
        white_box=accuracy(functools.partial(apgd, eps=eps, steps=steps, norm=norm)),
        black_box=accuracy(functools.partial(square, eps=eps, norm=norm, queries=queries)),
        noise=accuracy(functools.partial(uniform, eps=eps, norm=norm)),
        flat=_flat(traced(logits_fn), images, labels, batch_size),
        transfer=None if surrogate is None else accuracy(transferred(climb(eps), surrogate)),
    )


def suspicions(found: Measured) -> list[str]:
    """One sentence for each figure that an honest gradient would not give; empty where nothing is
    suspicious.
    """
    climbed = found.by_eps[found.eps]
    transfer = 1.0 if found.transfer is None else found.transfer
    signs = [
        (
            found.flat > _FLAT,
            f"The gradient of the cross-entropy is zero, or lost in rounding, for {found.flat:.1%} of the images: the logits"
            " are saturated or a step of the network has no derivative, and attacks that climb it are blind.",
        ),
        (
            found.unbounded > _NEAR_ZERO,
            f"Accuracy is still {found.unbounded:.1%} under PGD that may change the images at will, where it should be near"
            " zero: PGD's failures say nothing about robustness.",
        ),
        (
            found.one_step < climbed - _MARGIN,
            f"One step leaves {found.one_step:.1%} accuracy and {found.steps} steps leave {climbed:.1%}: more steps should"
            " not do less.",
        ),
        (
            climbed > _NEAR_ZERO and 1 - found.noise > max(_MARGIN, (1 - climbed) / 2),
            f"Uniform noise leaves {found.noise:.1%} accuracy and PGD of the same size {climbed:.1%}: an attack should do"
            " far more than noise.",
        ),
        (
            found.black_box < found.white_box - _MARGIN,
            f"Square, which sees no gradient, leaves {found.black_box:.1%} accuracy after {found.queries} queries and APGD,"
            f" which does, {found.white_box:.1%}: the gradient misleads.",
        ),
        (
            found.restarted < climbed - _RESTARTS_MARGIN,
            f"{_RESTARTS} random starts bring PGD from {climbed:.1%} accuracy to {found.restarted:.1%}: where the climb"
            " ends is luck.",
        ),
        (
            transfer < climbed - _MARGIN,
            f"Images made on another network leave {transfer:.1%} accuracy, those made on this one {climbed:.1%}: its own"
            " gradient should serve better than a stranger's.",
        ),
    ]
    return [sentence for suspicious, sentence in signs if suspicious] + _not_falling(found)


def _not_falling(found: Measured) -> list[str]:
    return [
        f"PGD leaves {found.by_eps[small]:.1%} accuracy at eps {small:.3g} and {found.by_eps[large]:.1%} at {large:.3g}:"
        " accuracy should fall as eps grows."
        for small, large in itertools.pairwise(sorted(found.by_eps))
        if found.by_eps[large] > found.by_eps[small] + _MARGIN
    ]


def _flat(logits_fn: LogitsFn, images: np.ndarray, labels: np.ndarray, batch_size: int) -> float:
    still = []
    for start in range(0, len(images), batch_size):
        # full batches, as everywhere: one program
        rows = (start + np.arange(batch_size)) % len(images)
        batch = jnp.asarray(images[rows, :, :, None] / np.float32(255))
        still.append(np.asarray(_is_flat(logits_fn, batch, jnp.asarray(labels[rows]))))
    return float(np.concatenate(still)[: len(images)].mean())


@jax.jit
def _is_flat(logits_fn: LogitsFn, images: jax.Array, labels: jax.Array) -> jax.Array:
    _, values, gradient = value_and_gradient(
        logits_fn, images, lambda logits: cross_entropy(logits, labels)
    )
    return (gradient == 0).all(axis=(1, 2, 3)) | (values <= _ROUNDING)

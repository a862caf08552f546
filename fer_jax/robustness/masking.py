"""Does a network hide its gradient? Then attacks fail for want of a direction, and its robust
accuracy means nothing.

    found = look(logits_fn, test, rows, key=jax.random.key(0), largest=8 / 255)
    print(*suspicions(found), sep="\\n")  # nothing, where nothing is suspicious

The signs are those of Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML
2018, section 3.1, https://arxiv.org/abs/1802.00420, and Carlini et al., "On Evaluating Adversarial
Robustness", 2019, section 4, https://arxiv.org/abs/1902.06705.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks import ATTACKS, Norm, cross_entropy, linf, pgd, transferred
from fer_jax.attacks.loop import traced, value_and_gradient
from fer_jax.data import Split
from fer_jax.errors import InputError
from fer_jax.evaluation.attacked import broken_by
from fer_jax.evaluation.logits import predict_logits
from fer_jax.types import Attack, LogitsFn

CHECKED = 128  # images that are looked at
TELLING = 0.3  # accuracy under PGD that leaves room for other attacks to do better, or worse
_STEPS = 20  # of PGD and APGD
_NEAR_ZERO = 0.05  # accuracy under an attack that may do anything
_MARGIN = 0.05  # difference of accuracies that chance and a finite search explain
_RESTARTS = 5
_RESTARTS_MARGIN = 0.15
_FLAT = 0.01  # share of images
# cross-entropy, in nats, whose gradient is rounding and nothing else
_ROUNDING = 2 * float(np.finfo(np.float32).eps)
_SIGNS = {
    "flat": "The gradient of the cross-entropy is zero, or lost in rounding, for {flat:.1%} of the "
    "images: the logits are saturated or a step of the network has no derivative, and attacks that "
    "climb it are blind.",
    "unbounded": "Accuracy is still {unbounded:.1%} under PGD that may change the images at will, "
    "where it should be near zero: PGD's failures say nothing about robustness.",
    "one_step": "One step leaves {one_step:.1%} accuracy and {steps} steps leave {climbed:.1%}: "
    "more steps should not do less.",
    "noise": "Uniform noise leaves {noise:.1%} accuracy and PGD of the same size {climbed:.1%}: an "
    "attack should do far more than noise.",
    "black_box": "Square, which sees no gradient, leaves {black_box:.1%} accuracy after {queries} "
    "queries and APGD, which does, {white_box:.1%}: the gradient misleads.",
    "restarted": "{restarts} random starts bring PGD from {climbed:.1%} accuracy to "
    "{restarted:.1%}: where the climb ends is luck.",
    "transfer": "Images made on another network leave {transfer:.1%} accuracy, those made on this "
    "one {climbed:.1%}: its own gradient should serve better than a stranger's.",
}


class Measured(NamedTuple):
    """Accuracies, in [0, 1], on images that the network gets right when left alone."""

    n: int  # how many images those are
    eps: float  # the size of all perturbations, unless noted otherwise
    steps: int  # of PGD and APGD
    queries: int  # of Square
    by_eps: dict[float, float]  # under PGD, at eps / 2, eps and 2 eps
    unbounded: float  # under PGD that may change the images at will
    one_step: float  # under a single step of length eps
    restarted: float  # under PGD, the best of five starts
    white_box: float  # under APGD
    black_box: float  # under Square
    noise: float  # with uniform noise
    flat: float  # share of images whose gradient is zero, or lost in rounding
    transfer: float | None  # under PGD made on another network; None without one


def look(
    logits_fn: LogitsFn,
    test: Split,
    rows: np.ndarray,
    *,
    key: jax.Array,
    largest: float,
    norm: Norm = linf,
    surrogate: LogitsFn | None = None,
    batch_size: int = 64,
) -> Measured:
    """Look for signs of a masked gradient at the largest eps that leaves enough to compare.

    That is `telling_eps`, from `largest` down. Of the test `rows` 128 are looked at, always the
    same ones. The rest is as for `measure`.
    """
    options = {"key": key, "norm": norm, "batch_size": batch_size}
    few = np.random.default_rng(1).permutation(rows)[:CHECKED]
    given = logits_fn, test.images[few], test.labels[few]
    eps = telling_eps(*given, largest=largest, **options)
    return measure(*given, eps=eps, surrogate=surrogate, **options)


def telling_eps(
    logits_fn: LogitsFn, images, labels, *, largest: float, norm: Norm = linf, **options
) -> float:
    """Return the first of `largest`, a half, a quarter, ... of it that leaves something to compare.

    That is where PGD leaves `TELLING` of what the network gets right; if it never does, a 32nd.
    """
    sizes = [largest / 2**halvings for halvings in range(6)]
    for eps in sizes:
        climb = {"": ATTACKS["pgd"].build(eps, norm.name, _STEPS)}
        broken = broken_by(climb, logits_fn, images, labels, norm=norm, eps=eps, **options)
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
    queries: int = 200,
    surrogate: LogitsFn | None = None,
    batch_size: int = 64,
) -> Measured:
    """Attack in the ways whose outcomes an honest gradient puts in order; costs about 15 PGDs.

    A hundred images uint8 [N, 48, 48] are enough; at `eps` the network should keep some accuracy.
    The surrogate is another network for the same classes. A network that gets none of the images
    right is an `InputError`.
    """
    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    if not right.any():
        none = f"the network gets none of the {len(images)} images right"
        raise InputError(f"{none}: there is nothing to attack")
    images, labels = images[right], np.asarray(labels)[right]

    def accuracy(attack: Attack, size: float = eps) -> float:
        options = {"key": key, "norm": norm, "eps": size, "batch_size": batch_size}
        return float((broken_by({"": attack}, logits_fn, images, labels, **options) == 1).mean())

    def build(name: str, size: float = eps, **options: int) -> Attack:
        return ATTACKS[name].build(size, norm.name, _STEPS, **options)

    one_step = {"eps": eps, "step_size": eps, "steps": 1, "norm": norm, "random_start": False}
    everything = float(norm.size(jnp.ones((1, *images.shape[1:], 1)))[0])
    return Measured(
        n=len(images),
        eps=eps,
        steps=_STEPS,
        queries=queries,
        by_eps={size: accuracy(build("pgd", size), size) for size in (eps / 2, eps, 2 * eps)},
        unbounded=accuracy(build("pgd", everything), everything),
        one_step=accuracy(functools.partial(pgd, **one_step)),
        restarted=accuracy(build("pgd", restarts=_RESTARTS)),
        white_box=accuracy(build("apgd")),
        black_box=accuracy(build("square", queries=queries)),
        noise=accuracy(build("noise")),
        flat=_flat(traced(logits_fn), images, labels, batch_size),
        transfer=None if surrogate is None else accuracy(transferred(build("pgd"), surrogate)),
    )


def suspicions(found: Measured) -> list[str]:
    """Return a sentence for each figure that an honest gradient would not give."""
    climbed = found.by_eps[found.eps]
    noisy = 1 - found.noise > max(_MARGIN, (1 - climbed) / 2)
    suspicious = {
        "flat": found.flat > _FLAT,
        "unbounded": found.unbounded > _NEAR_ZERO,
        "one_step": found.one_step < climbed - _MARGIN,
        "noise": climbed > _NEAR_ZERO and noisy,
        "black_box": found.black_box < found.white_box - _MARGIN,
        "restarted": found.restarted < climbed - _RESTARTS_MARGIN,
        "transfer": found.transfer is not None and found.transfer < climbed - _MARGIN,
    }
    figures = {"climbed": climbed, "restarts": _RESTARTS, **found._asdict()}
    says = [_SIGNS[name].format(**figures) for name, seen in suspicious.items() if seen]
    for (small, less), (large, more) in itertools.pairwise(sorted(found.by_eps.items())):
        if more > less + _MARGIN:
            rule = "accuracy should fall as eps grows."
            left = f"PGD leaves {less:.1%} accuracy at eps {small:.3g} and {more:.1%}"
            says.append(f"{left} at {large:.3g}: {rule}")
    return says


def _flat(logits_fn: LogitsFn, images: np.ndarray, labels: np.ndarray, batch_size: int) -> float:
    still = []
    for start in range(0, len(images), batch_size):
        rows = (start + np.arange(batch_size)) % len(images)  # full batches: one program
        batch = jnp.asarray(images[rows, :, :, None] / np.float32(255))
        still.append(np.asarray(_is_flat(logits_fn, batch, jnp.asarray(labels[rows]))))
    return float(np.concatenate(still)[: len(images)].mean())


@jax.jit
def _is_flat(logits_fn: LogitsFn, images: jax.Array, labels: jax.Array) -> jax.Array:
    value = lambda logits: cross_entropy(logits, labels)
    _, values, gradient = value_and_gradient(logits_fn, images, value)
    return (gradient == 0).all(axis=(1, 2, 3)) | (values <= _ROUNDING)

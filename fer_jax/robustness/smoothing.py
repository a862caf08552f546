"""Certify predictions by randomised smoothing: no change within a radius alters them.

    certificate = certify(jax.random.key(0), predictor.logits_fn, face[..., None] / 255, sigma=0.25)
    certificate.prediction, certificate.radius  # 3, 0.61 (L2, pixels in [0, 1])

The certificate is the smoothed classifier's, which predicts the class that the network gives most
often to noisy copies of the image, float32 [H, W, C] in [0, 1]. It holds with probability 1 - alpha
for each image by itself, over the draw of the noise. After Cohen, Rosenfeld & Kolter, "Certified
Adversarial Robustness via Randomized Smoothing", ICML 2019, https://arxiv.org/abs/1902.02918.
"""

import functools
import math
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from scipy.stats import beta

from fer_jax.attacks import l2, margin, pgd, step_size
from fer_jax.attacks.loop import repeat, traced
from fer_jax.errors import InputError
from fer_jax.training import losses
from fer_jax.types import Images, LogitsFn

ABSTAIN = -1
MAX_SIGMA = 1.0  # the whole range of a pixel: nothing can be seen through more
DEFAULT_SIGMA = 0.25


class Certified(NamedTuple):
    """What is known of one image."""

    prediction: int  # the smoothed classifier's class, or `ABSTAIN` where its lead is too small
    radius: float  # length below which no change alters the prediction, or 0
    count: int  # of the n noisy copies that got the class that was selected


def certify(
    key, logits_fn: LogitsFn, image: Images, *, sigma: float, n0=100, n=10_000, alpha=0.001
) -> Certified:
    """Predict and certify one image (Cohen et al. 2019, CERTIFY, their section 3.2.2).

    `sigma` is the noise's standard deviation, in (0, 1]: what the network was trained with. n0
    copies select the class, n further ones bound its probability; by the same ones it would be
    overrated. None is clipped, which would void the proof. Settings are refused as by `check`.
    """
    check(sigma, n0, n, alpha)
    selection_key, estimation_key = jax.random.split(key)
    guess = int(votes(selection_key, logits_fn, image, sigma, n0).argmax())
    count = int(votes(estimation_key, logits_fn, image, sigma, n)[guess])
    lower = lower_bound(count, n, alpha)
    if lower <= 0.5:
        return Certified(ABSTAIN, 0.0, count)
    return Certified(guess, sigma * NormalDist().inv_cdf(lower), count)


def votes(
    key: jax.Array, logits_fn: LogitsFn, image: Images, sigma: float, n: int, batch_size: int = 200
) -> jax.Array:
    """Count how many of n noisy copies of an image get each class: int32 [classes].

    A copy whose logits are not finite votes for none: it counts against every certificate.
    `batch_size` fixes which noise is drawn.
    """
    logits_fn = traced(logits_fn)
    image = jnp.asarray(image, jnp.float32)
    rows = min(batch_size, n)
    copies = jax.ShapeDtypeStruct((rows, *image.shape), jnp.float32)
    nothing = jnp.zeros(jax.eval_shape(logits_fn, copies).shape[-1], jnp.int32)
    return repeat(_vote, -(-n // rows), nothing, key, logits_fn, image, sigma, n, rows=rows)


@functools.partial(jax.jit, static_argnames="rows")
def _vote(i, counts, key, logits_fn, image, sigma, n, *, rows: int) -> jax.Array:
    """Add the votes of the i-th batch of the n copies; the last batch may have copies too many."""
    noise = jax.random.normal(jax.random.fold_in(key, i), (rows, *image.shape))
    logits = logits_fn(image[None] + sigma * noise)
    counted = jnp.isfinite(logits).all(axis=-1) & (jnp.arange(rows) < n - i * rows)
    classes = jax.nn.one_hot(logits.argmax(axis=-1), logits.shape[-1], dtype=jnp.int32)
    return counts + (classes * counted[:, None]).sum(axis=0, dtype=jnp.int32)


def lower_bound(count: int, n: int, alpha: float) -> float:
    """Return what a probability exceeds with confidence 1 - alpha, after `count` of `n` successes.

    One-sided and exact: Clopper & Pearson, "The use of confidence or fiducial limits", 1934.
    """
    return float(beta.ppf(alpha, count, n - count + 1)) if count else 0.0


def smallest_n(alpha: float, p: float = 0.5) -> int:
    """Return the fewest copies that, if all agree, show a probability above p: alpha^(1/n) > p."""
    n = max(1, math.floor(math.log(alpha) / math.log(p)))
    while alpha ** (1 / n) <= p:
        n += 1
    return n


def largest_radius(sigma: float, n: int, alpha: float) -> float:
    """Return the radius that n copies certify if all agree: no network can have a larger one."""
    return sigma * NormalDist().inv_cdf(lower_bound(n, n, alpha))


def trained_sigma(metadata: dict[str, Any]) -> Any:
    """Return the noise in training, as a model file says, unchecked, or 0.25 if it says none."""
    place = noise_settings(metadata)
    return DEFAULT_SIGMA if place is None else place.get("sigma")


def noise_settings(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """Return what holds sigma, the metadata or their config's adversary; None: without noise."""
    config = metadata.get("config")
    adversary = config.get("adversary") if isinstance(config, dict) else None
    if isinstance(adversary, dict) and adversary.get("method") in ("noise", "smoothadv"):
        return adversary
    return metadata if "sigma" in metadata else None


def check(sigma: float, n0: int, n: int, alpha: float) -> None:
    """Raise an `InputError` where nothing can be certified with these settings."""
    check_sigma(sigma)
    if not 0 < alpha < 1:
        raise InputError(f"alpha must be between 0 and 1, received {alpha}")
    if n0 < 1:
        raise InputError(f"n0 must be at least 1, received {n0}")
    if n < (needed := smallest_n(alpha)):
        rule = f"n must be at least {needed:,} to certify anything with alpha {alpha:g}"
        raise InputError(f"{rule}, received {n}")


def check_sigma(sigma: Any) -> None:
    """Raise an `InputError` where `sigma`, perhaps from a stranger's file, is no size of noise."""
    if not (isinstance(sigma, int | float) and 0 < sigma <= MAX_SIGMA):
        rule = f"sigma must be above 0 and at most {MAX_SIGMA:g} (pixels lie in [0, 1])"
        raise InputError(f"{rule}, received {sigma!r}")


def attack(
    key, logits_fn, image: Images, certificate: Certified, *, sigma: float, steps: int, copies=64
) -> jax.Array:
    """Return a certified image, changed by less than its radius to change the prediction.

    PGD against the mean of the network's probabilities over noisy `copies`, the same ones at every
    step: Salman et al., NeurIPS 2019, equation 6, https://arxiv.org/abs/1906.04584.
    """
    noise_key, start_key = jax.random.split(key)
    image = jnp.asarray(image, jnp.float32)
    noise = sigma * jax.random.normal(noise_key, (copies, *image.shape))
    smoothed = Partial(losses.smoothed_log, traced(logits_fn), noise=noise[:, None])
    eps = 0.999 * certificate.radius  # the ball is open, and float32 rounds
    size = {"eps": eps, "step_size": step_size(eps, steps), "steps": steps, "norm": l2}
    label = jnp.array([certificate.prediction])
    return pgd(start_key, smoothed, image[None], label, objective=margin, **size)[0]

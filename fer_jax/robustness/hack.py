"""One image hacked by the smallest change that works, also after rounding to 8 bits.

settings = Settings("pgd", "linf", steps=40)
hack = smallest(settings, predictor.logits_fn, image, target)  # uint8 [48, 48]; the class that it
is to become hack.worked, hack.eps, hack.found.images
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from fer_jax import attacks
from fer_jax.attacks.registry import ATTACKS, step_size
from fer_jax.evaluation.attacked import Attacked, attacked
from fer_jax.types import Attack, LogitsFn

# eps that are tried
LEVELS = {"linf": [level / 255 for level in range(1, 17)], "l2": [0.1 * k for k in range(1, 31)]}
FINEST = 0.01  # L2 between the largest eps that is known to fail and the one that is reported
# a smallest change ends on the boundary: rounding may undo it
GROWN = (1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)


class Settings(NamedTuple):
    """How to attack: always targeted.

    Attributes:
        method: a name of `attacks.registry`; see `universal`.
        norm: "linf" or "l2".
        eps: largest change, of pixels in [0, 1]; None: search for the smallest that works.
        restarts: further random starts of pgd and apgd.
    """

    method: str
    norm: str
    steps: int
    eps: float | None = None
    restarts: int = 1
    seed: int = 0


class Hack(NamedTuple):
    """What an attack made of an image, the size of the change, and the attack, to be run on other
    images.
    """

    found: Attacked
    eps: float
    attack: Attack

    @property
    def worked(self) -> bool:
        return bool(self.found.reached_8bit[0])


def smallest(
    settings: Settings,
    logits_fn: LogitsFn,
    image: np.ndarray,
    target: int,
    attack_at: Callable[[float], Attack] | None = None,
) -> Hack:
    """The smallest change that works, or the last one tried, of an image uint8 [48, 48].

    Args:
        attack_at: eps -> the attack for it, in place of `make_attack`'s.
    """
    if not ATTACKS[settings.method].bounded:
        return _grown(settings, logits_fn, image, target)
    attack_at = attack_at or functools.partial(make_attack, settings)
    attempt = functools.partial(_attempt, settings, logits_fn, image, target)
    hack, failed = None, 0.0
    for eps in LEVELS[settings.norm] if settings.eps is None else [settings.eps]:
        hack = attempt(attack_at(eps), eps)
        if hack.worked:
            break
        failed = eps
    assert hack is not None
    while (
        settings.norm == "l2"
        and settings.eps is None
        and hack.worked
        and hack.eps - failed > FINEST
    ):
        smaller = attempt(attack_at(eps := (failed + hack.eps) / 2), eps)
        hack, failed = (smaller, failed) if smaller.worked else (hack, eps)
    return hack


def _grown(settings: Settings, logits_fn: LogitsFn, image: np.ndarray, target: int) -> Hack:
    """The smallest change, made larger until it survives the rounding; the attack is run once."""
    floats = image[None, :, :, None] / np.float32(255)
    found = make_attack(settings, 0.0)(
        jax.random.key(settings.seed), logits_fn, floats, np.array([target])
    )
    change = np.asarray(found) - floats
    hack = None
    for factor in GROWN:
        hack = _attempt(settings, logits_fn, image, target, adding(factor * change), None)
        if hack.worked:
            break
    assert hack is not None
    return hack


def _attempt(
    settings: Settings,
    logits_fn: LogitsFn,
    image: np.ndarray,
    target: int,
    attack: Attack,
    eps: float | None,
) -> Hack:
    """What the attack makes of the image, brought back into the ball of radius eps if there is one."""
    options = {"key": jax.random.key(settings.seed), "targeted": True, "batch_size": 1}
    ball = {"norm": attacks.NORMS[settings.norm], "eps": eps} if eps else {}
    found = attacked(attack, logits_fn, image[None], np.array([target]), **options, **ball)
    return Hack(found, eps or float(found.norms[settings.norm][0]) / 255, attack)


def make_attack(settings: Settings, eps: float) -> Attack:
    """Return the attack of `settings`, targeted, within `eps` if it is bounded."""
    options = {"restarts": settings.restarts, "targeted": True, "batch_size": 1}
    return ATTACKS[settings.method].build(eps, settings.norm, settings.steps, **options)


def universal(
    settings: Settings, logits_fn: LogitsFn, images: np.ndarray, target: int, eps: float
) -> Attack:
    """The attack that adds one perturbation to all images: the one that is fitted to `images`,
    uint8 [N, 48, 48].
    """
    change = attacks.universal_perturbation(
        jax.random.key(settings.seed),
        logits_fn,
        images[..., None] / np.float32(255),
        np.full(len(images), target),
        eps=eps,
        step_size=step_size(eps, settings.steps),
        steps=settings.steps,
        norm=attacks.NORMS[settings.norm],
        targeted=True,
    )
    return adding(np.asarray(change))


def adding(change: np.ndarray) -> Attack:
    """The attack that makes the same change to every image."""
    return lambda key, logits_fn, images, labels: images + change

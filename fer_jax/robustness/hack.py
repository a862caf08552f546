"""Hack one image by the smallest change that works, also after rounding to 8 bits.

hack = smallest(Settings("pgd", "linf", steps=40), predictor.logits_fn, image, target)
hack.worked, hack.eps, hack.found.images

Images are uint8 [48, 48], `target` is the class that they are to become.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fer_jax import attacks
from fer_jax.attacks.registry import ATTACKS, step_size
from fer_jax.errors import InputError
from fer_jax.evaluation.attacked import Attacked, attacked
from fer_jax.types import Attack, LogitsFn

SURE = 0.9  # the probability that an image to be hacked must have
STEPS = 40  # of methods that have no number of their own
LARGEST = {"linf": 1.0, "l2": 48.0}  # from the black to the white image
# eps that are tried
LEVELS = {"linf": [level / 255 for level in range(1, 17)], "l2": [0.1 * k for k in range(1, 31)]}
FINEST = 0.01  # L2 between the largest eps that is known to fail and the one that is reported
# a smallest change ends on the boundary: rounding may undo it
GROWN = (1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)


class Settings(NamedTuple):
    """How to attack: always targeted."""

    method: str  # of `attacks.ATTACKS`
    norm: str
    steps: int
    eps: float | None = None  # of pixels in [0, 1]; None: search for the smallest that works
    restarts: int = 1  # further random starts of pgd and apgd
    seed: int = 0


class Hack(NamedTuple):
    """What an attack made of an image, the size of the change, and the attack, to be run again."""

    found: Attacked
    eps: float
    attack: Attack

    @property
    def worked(self) -> bool:
        return bool(self.found.reached_8bit[0])


def settings_for(
    method: str, norm: str | None, steps: int | None, eps: float | None, restarts: int, seed: int
) -> Settings:
    """Return settings for a command line's options, with the method's own norm and steps for None.

    A method that is unknown, or not made for the other options, is an `InputError`.
    """
    methods = [name for name, entry in ATTACKS.items() if entry.has_targets]
    if method not in methods:
        choices = ", ".join(methods)
        raise InputError(f"--method: invalid choice: {method!r} (choose from {choices})")
    entry = ATTACKS[method]
    steps = (entry.steps or STEPS) if steps is None else steps
    norm = norm or entry.norms[0]
    if norm not in entry.norms:
        known = " and ".join(entry.norms)
        raise InputError(f"--method {method} is made for {known}, not for {norm}")
    if eps is not None and not entry.bounded:
        raise InputError(f"--method {method} looks for the smallest change: it takes no --eps")
    if eps is not None and eps > LARGEST[norm]:
        rule = f"--eps must be at most {LARGEST[norm]:g} in {norm}: pixels lie in [0, 1]"
        raise InputError(f"{rule}, got {eps:g}")
    if min(steps, restarts) < 1:
        raise InputError(f"--steps and --restarts must be at least 1, got {steps} and {restarts}")
    if method == "fgsm" and steps > 1:
        raise InputError(f"--method fgsm makes one step, got --steps {steps}")
    return Settings(method, norm, steps, eps, restarts, seed)


def smallest(
    settings: Settings, logits_fn: LogitsFn, image: np.ndarray, target: int, attack_at=None
) -> Hack:
    """Return the smallest change that works, or the last one tried.

    `attack_at` (eps -> the attack) takes the place of `make_attack`.
    """
    attempt = functools.partial(_attempt, settings, logits_fn, image, target)
    if not ATTACKS[settings.method].bounded:
        # made larger until it survives the rounding; one attack is run
        floats = image[None, :, :, None] / np.float32(255)
        given = (jax.random.key(settings.seed), logits_fn, floats, np.array([target]))
        change = np.asarray(make_attack(settings, 0.0)(*given)) - floats
        return _first_that_works(lambda factor: attempt(adding(factor * change), None), GROWN)
    attack_at = attack_at or functools.partial(make_attack, settings)
    within = lambda eps: attempt(attack_at(eps), eps)
    if settings.eps is not None:
        return within(settings.eps)
    levels = LEVELS[settings.norm]
    hack = _first_that_works(within, levels)
    if not hack.worked or settings.norm != "l2":
        return hack
    failed = max((level for level in levels if level < hack.eps), default=0.0)
    while hack.eps - failed > FINEST:
        smaller = within((failed + hack.eps) / 2)
        if smaller.worked:
            hack = smaller
        else:
            failed = smaller.eps
    return hack


def _first_that_works(attempt: Callable[[float], Hack], sizes: Sequence[float]) -> Hack:
    """Return the first attempt that works, or else the last."""
    hack = attempt(sizes[0])
    for size in sizes[1:]:
        if hack.worked:
            break
        hack = attempt(size)
    return hack


def _attempt(settings, logits_fn, image, target, attack: Attack, eps: float | None) -> Hack:
    """Return what the attack makes of the image, brought back into the ball if there is an eps."""
    options = {"key": jax.random.key(settings.seed), "targeted": True, "batch_size": 1}
    ball = {"norm": attacks.NORMS[settings.norm], "eps": eps} if eps else {}
    found = attacked(attack, logits_fn, image[None], np.array([target]), **options, **ball)
    return Hack(found, eps or float(found.norms[settings.norm][0]) / 255, attack)


def make_attack(settings: Settings, eps: float) -> Attack:
    """Return the attack of `settings`, targeted, within `eps` if it is bounded."""
    options = {"restarts": settings.restarts, "targeted": True, "batch_size": 1}
    return ATTACKS[settings.method].build(eps, settings.norm, settings.steps, **options)


def fitted(
    logits_fn, images, target: int, *, eps: float, norm="linf", steps=STEPS, seed=0, batch_size=64
) -> np.ndarray:
    """Return one change, float32 [1, 48, 48, 1], of size `eps` at most, for all images.

    These are uint8 [N, 48, 48], `eps` is of pixels in [0, 1]; a step sees `batch_size` of them.
    """
    options = {"eps": eps, "step_size": step_size(eps, steps), "steps": steps, "targeted": True}
    options |= {"norm": attacks.NORMS[norm], "batch_size": batch_size}
    given = (logits_fn, images[..., None] / np.float32(255), np.full(len(images), target))
    return np.asarray(attacks.universal_perturbation(jax.random.key(seed), *given, **options))


def adding(change: np.ndarray) -> Attack:
    """Return the attack that makes the same change to every image."""
    return lambda key, logits_fn, images, labels: images + change

"""Every attack by name: what it is made for, its steps, and how to build it.

    attack = ATTACKS["pgd"].build(8 / 255, "linf", steps=40, targeted=True)
    hacked = attack(jax.random.key(0), logits_fn, images, targets)

A new attack is a file of its own and a line here: the scripts take their choices from this table.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from fer_jax.attacks.apgd import apgd
from fer_jax.attacks.auto import autoattack
from fer_jax.attacks.cw import cw
from fer_jax.attacks.ddn import ddn
from fer_jax.attacks.deepfool import deepfool
from fer_jax.attacks.fmn import fmn
from fer_jax.attacks.gradient import bim, fgsm, mifgsm, pgd
from fer_jax.attacks.noise import uniform
from fer_jax.attacks.norms import NORMS
from fer_jax.attacks.square import square
from fer_jax.attacks.universal import universal
from fer_jax.types import Attack, Images


def step_size(eps: float, steps: int) -> float:
    """Return the usual length of a step: `steps` of them cross the ball's radius 2.5 times."""
    return 2.5 * eps / steps


class Entry(NamedTuple):
    """An attack, and what it is made for."""

    function: Callable[..., Images]
    norms: tuple[str, ...] = ("linf",)  # names, the usual one first
    bounded: bool = True  # stays within eps; otherwise it looks for the smallest change
    any_shape: bool = False  # is also offered for whole photographs; all take images of any shape
    per_image: bool = True  # what becomes of an image does not depend on the others
    steps: int | None = None  # unless told otherwise; None: the caller decides
    count: str = "steps"  # the option that says how many steps, or queries, it makes

    @property
    def options(self) -> set[str]:
        """Names of the options that `function` takes."""
        parameters = inspect.signature(self.function).parameters.values()
        return {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}

    @property
    def has_targets(self) -> bool:
        """Whether it can lead to a class that somebody asks for."""
        return "targeted" in self.options

    def build(self, eps: float, norm: str, steps: int, **options: Any) -> Attack:
        """Return the attack, ready for (key, logits_fn, images, labels).

        Without effect are eps unless it is `bounded`, and options that it does not take. A
        ValueError says that it does not know the norm, or has no targets.
        """
        if norm not in self.norms:
            raise ValueError(f"the norm must be one of {', '.join(self.norms)}, received {norm}")
        if options.get("targeted") and not self.has_targets:
            raise ValueError(f"{self.function.__name__} cannot be targeted")
        given = {"norm": NORMS[norm], self.count: steps}
        if self.bounded:
            given |= {"eps": eps, "step_size": step_size(eps, steps)}
        taken = {name: value for name, value in (given | options).items() if name in self.options}
        return functools.partial(self.function, **taken)


_BOTH = ("linf", "l2")
ATTACKS = {
    "noise": Entry(uniform, _BOTH),
    "fgsm": Entry(fgsm, any_shape=True, steps=1),
    "bim": Entry(bim, any_shape=True),
    "pgd": Entry(pgd, _BOTH, any_shape=True),
    "mifgsm": Entry(mifgsm, any_shape=True),
    "apgd": Entry(apgd, _BOTH, any_shape=True),
    "square": Entry(square, _BOTH, steps=5000, count="queries"),
    "autoattack": Entry(autoattack, _BOTH, steps=100),
    "universal": Entry(universal, _BOTH, per_image=False),
    "cw": Entry(cw, ("l2",), bounded=False),
    "deepfool": Entry(deepfool, ("l2", "linf"), bounded=False),
    "ddn": Entry(ddn, ("l2",), bounded=False),
    "fmn": Entry(fmn, ("l2", "linf"), bounded=False),
}

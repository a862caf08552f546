"""Attacks: pure functions from images to images that a network gets wrong.

    attack = functools.partial(pgd, eps=8 / 255, step_size=2 / 255, steps=40)
    hacked = attack(jax.random.key(0), logits_fn, images, labels)

An attack takes (key, logits_fn, images, labels, /): images float32 [B, H, W, C] in [0, 1], labels
int [B], and a function from images to logits [B, C] that treats the rows of a batch independently
and is in evaluation mode. Attack in float32. To take new weights without compiling anew, give
`jax.tree_util.Partial(apply, variables)` as the function.
"""

from fer_jax.attacks.apgd import apgd, apgd_targeted
from fer_jax.attacks.auto import autoattack
from fer_jax.attacks.cw import cw
from fer_jax.attacks.ddn import ddn
from fer_jax.attacks.deepfool import deepfool
from fer_jax.attacks.eot import RandomLogitsFn, averaged
from fer_jax.attacks.fab import fab_targeted
from fer_jax.attacks.fmn import fmn
from fer_jax.attacks.gradient import bim, fgsm, mifgsm, pgd
from fer_jax.attacks.noise import uniform
from fer_jax.attacks.norms import NORMS, Norm, l1, l2, linf
from fer_jax.attacks.objectives import Goal, cross_entropy, dlr, margin, targeted_dlr
from fer_jax.attacks.registry import ATTACKS, step_size
from fer_jax.attacks.square import square
from fer_jax.attacks.transfer import transferred
from fer_jax.attacks.universal import universal, universal_perturbation

__all__ = [
    "ATTACKS",
    "NORMS",
    "Goal",
    "Norm",
    "RandomLogitsFn",
    "apgd",
    "apgd_targeted",
    "autoattack",
    "averaged",
    "bim",
    "cross_entropy",
    "cw",
    "ddn",
    "deepfool",
    "dlr",
    "fab_targeted",
    "fgsm",
    "fmn",
    "l1",
    "l2",
    "linf",
    "margin",
    "mifgsm",
    "pgd",
    "square",
    "step_size",
    "targeted_dlr",
    "transferred",
    "uniform",
    "universal",
    "universal_perturbation",
]

"""Attacks: pure functions from images to images that a network gets wrong.

    attack = functools.partial(pgd, eps=8 / 255, step_size=2 / 255, steps=40)
    hacked = attack(jax.random.key(0), logits_fn, images, labels)

Every attack is given a key for its random numbers; a function from images to logits
[B, C] that treats the rows of a batch independently and is in evaluation mode; images, float32
[B, H, W, C] in [0, 1]; and labels, int [B], the true ones, or with `targeted=True` where to go. It
returns images in [0, 1]. Attack in float32. To take new weights without compiling anew, give
`jax.tree_util.Partial(apply, variables)` as the function. Options that many attacks know:

- eps: radius of the ball, in pixel units of [0, 1] and in `norm` (linf, l2 or l1); the images that
  come back lie in it to rounding. Where an array is taken, [B] gives each image its own.
- step_size: length of a step in the same norm; steps: how many, at least 1.
- objective: what is ascended, see `objectives`.
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

"""How often an attack asks the network: forward and backward passes, counted where they happen.

    attack = Counted(functools.partial(pgd, eps=8 / 255, step_size=2 / 255, steps=40))
    hacked = attack(key, logits_fn, images, labels)
    attack.forward / attack.images, attack.backward / attack.images      # 41.0, 40.0

The compiled program itself calls back at each pass. That costs little, but such programs are not
kept in jax's compilation cache on disk: each process compiles them anew.
"""

import threading

import jax
import numpy as np
from jax.tree_util import Partial

from fer_jax.attacks.loop import traced
from fer_jax.types import Attack, Images, Labels, Logits, LogitsFn

# One tally for the process, of image passes: a tally for each attack would be part of its program
# and compile it anew.
_tally = {"forward": 0, "backward": 0}
_lock = threading.Lock()  # callbacks come from threads of XLA


class Counted:
    """The same attack, counting; not to be run from several threads at once.

    Attributes:
        images: how many it was given so far.
        forward, backward: image passes so far: a pass of a batch counts as many as it has rows. A
            pass of `eot.averaged` is one, whatever its draws.
    """

    def __init__(self, attack: Attack):
        self.attack = attack
        self.images = self.forward = self.backward = 0

    def __call__(
        self, key: jax.Array, logits_fn: LogitsFn, images: Images, labels: Labels, /
    ) -> Images:
        before = _so_far()
        hacked = jax.block_until_ready(
            self.attack(key, Partial(_counted, traced(logits_fn)), images, labels)
        )
        after = _so_far()
        self.images += len(images)
        self.forward += after["forward"] - before["forward"]
        self.backward += after["backward"] - before["backward"]
        return hacked


def _so_far() -> dict[str, int]:
    jax.effects_barrier()
    with _lock:
        return dict(_tally)


def _counted(logits_fn: LogitsFn, images: Images) -> Logits:
    return _observed(logits_fn(images))


@jax.custom_vjp
def _observed(logits: Logits) -> Logits:
    _tell("forward", logits)
    return logits


def _forward(logits: Logits) -> tuple[Logits, None]:
    return _observed(logits), None


def _backward(_: None, slopes: Logits) -> tuple[Logits]:
    _tell("backward", slopes)
    return (slopes,)


_observed.defvjp(_forward, _backward)


def _tell(way: str, values: Logits) -> None:
    """Add to the tally when the program gets here; a number goes along for `jax.vmap` to make a
    call per pass.
    """
    rows = values.shape[0]

    def add(_: np.ndarray) -> None:
        with _lock:
            _tally[way] += rows

    jax.debug.callback(add, values[0, 0])

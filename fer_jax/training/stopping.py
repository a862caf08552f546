"""Which epoch is the best so far, and whether a run goes on."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.config import Config
from fer_jax.types import Variables

Row = dict[str, Any]  # what is logged of an epoch, by column

# A robust accuracy that a network which always says Happy cannot have, and the share of the best
# one below which it counts as lost.
_LEARNED, _COLLAPSE = 0.3, 0.5


@flax.struct.dataclass
class Progress:
    """What an epoch changes: the best weights so far and the early-stopping counters."""

    epoch: jax.Array  # epochs finished
    best: Variables
    best_value: jax.Array  # the monitored figure, signed so that larger is better
    best_epoch: jax.Array
    waited: jax.Array  # epochs without a better one, once they count


def begin(weights: Variables) -> Progress:
    """Return the progress of a run that has finished no epoch."""
    zero = jnp.zeros((), jnp.int32)
    copied = jax.tree.map(jnp.copy, weights)  # the next step donates the state's own, as in `judge`
    return Progress(zero, copied, jnp.float32(-jnp.inf), zero, zero)


def judge(config: Config, progress: Progress, row: Row, weights: Variables) -> Progress:
    """Return the progress after the epoch of `row`: its weights are kept if they are the best."""
    epoch, monitor = jnp.int32(row["epoch"]), config.early_stopping.monitor
    value = row["epoch"] if monitor == "last" else row[f"holdout_{monitor}"]
    # as `best_value` is kept, so that an equal epoch is no better one
    value = float(np.float32(-value if monitor == "loss" else value))
    if value > float(progress.best_value) + config.early_stopping.min_delta:
        best = jax.tree.map(jnp.copy, weights)  # the next step donates the state's own
        return Progress(epoch, best, jnp.float32(value), epoch, jnp.zeros((), jnp.int32))
    # one that is no better brings the end nearer, once the learning rate has come down
    low = row["lr"] < config.early_stopping.rate_below * config.optimizer.learning_rate
    fallen = low and row["epoch"] > config.optimizer.warmup * config.epochs
    counts = fallen or config.optimizer.schedule == "plateau"
    waited = jnp.int32(int(progress.waited) + counts)
    return dataclasses.replace(progress, epoch=epoch, waited=waited)


def stopped(config: Config, progress: Progress, history: Sequence[Row]) -> str:
    """Return why the run ends before its last epoch, "" where it goes on."""
    if collapse := overfitted(history):
        return collapse
    waited = int(progress.waited) >= config.early_stopping.patience
    return f"no better epoch than {int(progress.best_epoch)}" if waited else ""


def overfitted(history: Sequence[Row]) -> str:
    """Return in words whether the last epoch shows catastrophic overfitting, else "".

    That is a collapse of the robust accuracy within an epoch or two, while the training loss goes
    on falling: Wong et al., ICLR 2020, section 5.4 (https://arxiv.org/abs/2001.03994).
    """
    values = [row.get("holdout_robust_accuracy", 0.0) for row in history]
    if not values or max(values) < _LEARNED or values[-1] >= _COLLAPSE * max(values):
        return ""
    fall = f"from {max(values):.1%} to {values[-1]:.1%}"
    return f"robust accuracy collapsed {fall} (catastrophic overfitting)"

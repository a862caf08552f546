"""One step of training: its state, learning rate and optimiser, and the jitted update.

step = make_step(config, make_optimizer(config, steps, steps_per_epoch), 48, steps, Devices())
state, loss = step(state, faces, targets, rows)
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from fer_jax import models
from fer_jax.config import Config
from fer_jax.models.layers import training_dtype
from fer_jax.models.model_file import ModelFile
from fer_jax.training import losses, starts
from fer_jax.training.augment import augment
from fer_jax.training.parallel import Devices
from fer_jax.types import IMAGE_SIZE, Variables

# What remains of a belief when its row is seen again: Laine & Aila (arxiv.org/abs/1610.02242).
BELIEF_MEMORY = 0.7

Optimizer = optax.GradientTransformationExtraArgs
Step = Callable[["State", Array, Array, Array], tuple["State", Array]]


@flax.struct.dataclass
class State:
    """What a step changes. Randomness is `fold_in(key, step)`, so a resumed run repeats it."""

    step: Array
    params: Any
    batch_stats: Any  # empty for a network that has none
    ema: Variables  # averages of both: what is evaluated and delivered
    opt_state: Any
    key: Array
    beliefs: Array  # [N, C], mean probabilities given to each training row; else one idle row


def make_schedule(config: Config, steps: int) -> optax.Schedule:
    """Return the learning rate by step: a cosine up to its peak, and one down to almost nothing.

    For "plateau" it is a constant, which the optimiser multiplies by a factor of its own. Source of
    "one-cycle": Smith & Topin, "Super-Convergence", 2018 (https://arxiv.org/abs/1708.07120).
    """
    peak = config.optimizer.learning_rate
    if config.optimizer.schedule == "plateau":
        return optax.constant_schedule(peak)
    rising = min(round(steps * config.optimizer.warmup), steps - 1)  # the fall needs a step
    up = optax.cosine_decay_schedule(peak / 25, max(rising, 1), alpha=25)
    down = optax.cosine_decay_schedule(peak, steps - rising, alpha=1e-4)
    return optax.join_schedules([up, down], [rising])


def make_optimizer(config: Config, steps: int, steps_per_epoch: int) -> Optimizer:
    """Return SGD with Nesterov momentum, and L2 decay of the kernels (not of scales and biases)."""
    settings = config.optimizer
    kernels = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    chain = [
        optax.add_decayed_weights(settings.weight_decay, mask=kernels),
        optax.sgd(make_schedule(config, steps), settings.momentum, nesterov=True),
    ]
    if settings.schedule == "plateau":  # last, where `learning_rate` looks for its factor
        waiting = {"patience": settings.plateau_patience, "accumulation_size": steps_per_epoch}
        chain.append(optax.contrib.reduce_on_plateau(settings.plateau_factor, **waiting))
    return optax.with_extra_args_support(optax.chain(*chain))


def learning_rate(config: Config, state: State, steps: int) -> float:
    """Return the rate of the step before, in a run of `steps`."""
    rate = float(np.asarray(make_schedule(config, steps)(state.step - 1)))
    if config.optimizer.schedule == "plateau":
        return rate * float(state.opt_state[-1].scale)
    return rate


def make_state(
    config: Config, optimizer: Optimizer, targets: Array, start: starts.Source | None = None
) -> State:
    """Return the state before the first step, with the weights of `start` or random ones.

    `targets` [N, C], of the training rows, are the first beliefs.
    """
    model = models.create(config.model)
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    images = jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, model.channels))
    variables = {"batch_stats": {}} | jax.jit(model.init)(init_key, images)
    if start:
        variables = starts.weights(start, variables, config)
    return State(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        ema=jax.tree.map(jnp.copy, variables),  # the step donates every buffer of the state, once
        opt_state=optimizer.init(variables["params"]),
        key=run_key,
        beliefs=jnp.copy(targets if config.self_distillation else targets[:1]),
    )


def make_step(
    config: Config,
    optimizer: Optimizer,
    side: int,
    steps: int,
    devices: Devices,
    teachers: Sequence[ModelFile] = (),
) -> Step:
    """Return the jitted update, for views of `side` pixels in a run of `steps`.

    It takes faces uint8 [N, 48, 48], targets [N, C] and the batch's rows [B], and donates the
    state. Over the run the targets come to trust the network's own beliefs, linearly up to
    `config.self_distillation`. A share `config.teaching` of them is the mean probabilities that the
    teachers give the very views: Beyer et al., CVPR 2022 (https://arxiv.org/abs/2106.05237).
    """
    dtype = training_dtype()
    model = models.create(config.model, dtype)
    gradient = jax.value_and_grad(losses.make_loss(model.apply, config.adversary), has_aux=True)
    taught_by = [models.create(teacher.architecture, dtype).apply for teacher in teachers]

    def opinion(weights: list[Variables], images: Array) -> Array:
        probabilities = []
        for apply, variables, teacher in zip(taught_by, weights, teachers, strict=True):
            logits: Any = apply(variables, images)
            probabilities.append(jax.nn.softmax(logits.astype(jnp.float32) / teacher.temperature))
        return jnp.stack(probabilities).mean(axis=0)

    def step(state: State, faces: Array, known: Array, rows: Array, weights: list[Variables]):
        augment_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        targets, beliefs = known[rows], state.beliefs
        if config.self_distillation:
            trust = config.self_distillation * state.step / steps
            targets = losses.blend(targets, beliefs[rows], trust)
        field = model.crop / IMAGE_SIZE
        images, targets = augment(augment_key, faces[rows], targets, config.augment, side, field)
        if teachers:
            targets = losses.blend(targets, opinion(weights, images), config.teaching)
        batch = (loss_key, images, targets)
        (loss, (batch_stats, logits)), grads = gradient(state.params, state.batch_stats, *batch)
        if config.self_distillation:
            seen = jax.nn.softmax(logits.astype(jnp.float32))
            remembered = BELIEF_MEMORY * beliefs[rows] + (1 - BELIEF_MEMORY) * seen
            beliefs = beliefs.at[rows].set(remembered)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        # young averages forget faster
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        current = {"params": params, "batch_stats": batch_stats}
        ema = jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, state.ema, current)
        return State(state.step + 1, params, batch_stats, ema, opt_state, state.key, beliefs), loss

    jitted = jax.jit(step, donate_argnums=0, out_shardings=devices.everywhere)
    # an argument: constants would be compiled in
    weights = [devices.replicate(jax.tree.map(jnp.asarray, each.variables)) for each in teachers]
    return lambda state, faces, known, rows: jitted(state, faces, known, rows, weights)

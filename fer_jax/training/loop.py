"""The training loop: one jitted optax step, evaluation of averaged weights, early stopping,
checkpoints and logs.

result = fit(config, data.protocol(data.load(), config.protocol), workdir=Path("runs/vgg"))
result.model    # a ModelFile with the best epoch's weights
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax.tree_util import Partial
from tqdm import tqdm

from fer_jax import config as configs
from fer_jax import files, models
from fer_jax.config import Config
from fer_jax.data import Protocol, Split
from fer_jax.errors import InputError
from fer_jax.evaluation import calibration
from fer_jax.evaluation.logits import predict_logits
from fer_jax.evaluation.metrics import confusion
from fer_jax.evaluation.summary import summary
from fer_jax.labels import NUM_CLASSES
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.training import adversary as robust
from fer_jax.training import losses
from fer_jax.training.augment import augment
from fer_jax.training.checkpoint import Checkpoints
from fer_jax.training.parallel import Devices
from fer_jax.types import IMAGE_SIZE, Variables

# a loss or a weight beyond this is lost, and a model file cannot hold it
LARGEST = float(np.finfo(np.float16).max)
EVALUATED_TOGETHER = 256  # images
TRAINING_SAMPLE = 1024  # rows of the training split on which its learning curve is measured
# rows of the hold-out that a CPU attacks after each epoch, in 8 % of its time
ATTACKED_SAMPLE = 512
# what remains of a belief when its row is seen again (temporal ensembling, Laine & Aila 2017)
BELIEF_MEMORY = 0.7
CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


@flax.struct.dataclass
class State:
    """What a step changes. `ema` are averaged variables; randomness is `fold_in(key, step)`, so a
    resumed run repeats it.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    ema: Variables
    opt_state: Any
    key: jax.Array
    # [N, C], mean probabilities given to each training row; without distillation one idle row
    beliefs: jax.Array


@flax.struct.dataclass
class Progress:
    """What an epoch changes: the best weights so far and the early-stopping counters."""

    epoch: jax.Array  # epochs finished
    best: Variables
    best_value: jax.Array  # the monitored figure, signed so that larger is better
    best_epoch: jax.Array
    waited: jax.Array  # epochs without a better one, once they count


class Teacher(NamedTuple):
    """A finished network, `apply(variables, images)` its logits."""

    apply: Callable[..., Any]
    variables: Variables
    temperature: float


class Result(NamedTuple):
    model: ModelFile
    history: pd.DataFrame


Row = dict[str, Any]  # what is logged of an epoch, by column
Step = Callable[[State, jax.Array, jax.Array, jax.Array], tuple[State, jax.Array]]


def make_schedule(config: Config, steps: int) -> optax.Schedule:
    """The learning rate by step; for "plateau" the constant that the optimiser's own scale
    multiplies.
    """
    settings = config.optimizer
    if settings.schedule == "plateau":
        return optax.constant_schedule(settings.learning_rate)
    warmup = min(round(steps * settings.warmup), steps - 1)  # the fall needs a step
    start, end = settings.learning_rate / 25, settings.learning_rate / 1e4
    if settings.schedule == "one-cycle":  # Smith & Topin 2018: cosine up, cosine down
        up = optax.cosine_decay_schedule(
            start, max(warmup, 1), alpha=settings.learning_rate / start
        )
    else:
        up = optax.linear_schedule(start, settings.learning_rate, max(warmup, 1))
    down = optax.cosine_decay_schedule(
        settings.learning_rate, steps - warmup, alpha=end / settings.learning_rate
    )
    return optax.join_schedules([up, down], [warmup])


def make_optimizer(
    config: Config, steps: int, steps_per_epoch: int
) -> optax.GradientTransformationExtraArgs:
    """SGD with Nesterov momentum; L2 decay on the kernels only (scales and biases are not to be
    pulled to zero).
    """
    settings = config.optimizer
    chain = [
        optax.add_decayed_weights(
            settings.weight_decay, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)
        ),
        optax.sgd(make_schedule(config, steps), settings.momentum, nesterov=True),
    ]
    if settings.schedule == "plateau":
        chain.append(
            optax.contrib.reduce_on_plateau(
                factor=settings.plateau_factor,
                patience=settings.plateau_patience,
                accumulation_size=steps_per_epoch,
            )
        )
    return optax.with_extra_args_support(optax.chain(*chain))


def make_state(
    config: Config, optimizer: optax.GradientTransformationExtraArgs, targets: jax.Array
) -> State:
    """The state before the first step: random weights from the config's seed, or those of
    `config.init_from`.

    Beliefs start as the `targets` [N, C] of the training rows.
    """
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    images = jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 1))
    variables = jax.jit(models.create(config.model).init)(init_key, images)
    if config.init_from:
        variables = _read_start(config, variables)
    return State(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        # a copy: the step donates every buffer of the state, once
        ema=jax.tree.map(jnp.copy, variables),
        opt_state=optimizer.init(variables["params"]),
        key=run_key,
        beliefs=jnp.copy(targets if config.self_distillation else targets[:1]),
    )


def _read_start(config: Config, fresh: Variables) -> Variables:
    """The weights of `config.init_from`, which must fit the network; dropout and crop may differ:
    they have no weights.

    Of a network for other classes all but the last layer is taken.
    """
    start = model_file.load(config.init_from)
    if start.architecture.get("classes") != config.model.get("classes"):
        start.variables["params"]["logits"] = fresh["params"]["logits"]
    if jax.tree.map(jnp.shape, start.variables) != jax.tree.map(jnp.shape, fresh):
        raise InputError(
            f"{config.init_from}: its weights fit {start.architecture}, not the config's {config.model}"
        )
    return jax.tree.map(jnp.asarray, start.variables)


def read_teachers(config: Config, devices: Devices) -> list[Teacher]:
    """The networks of `config.teachers`, on every device, in evaluation mode."""
    teachers = []
    for told in _fitting_teachers(config):
        apply = models.create(told.architecture, dtype=activation_dtype()).apply
        teachers.append(
            Teacher(
                apply,
                devices.replicate(jax.tree.map(jnp.asarray, told.variables)),
                told.temperature,
            )
        )
    return teachers


def _fitting_teachers(config: Config) -> list[ModelFile]:
    """Raises `InputError` if one knows other classes or looks at another part of the face than the
    config's network.
    """
    files_of_teachers = [model_file.load(path) for path in config.teachers]
    for path, told in zip(config.teachers, files_of_teachers, strict=True):
        for key, default in (("classes", NUM_CLASSES), ("crop", IMAGE_SIZE)):
            if (received := told.architecture.get(key, default)) != (
                wanted := config.model.get(key, default)
            ):
                rule = f"a teacher must have the {key} of the network that it teaches"
                raise InputError(f"{path}: {rule}, {wanted}, received {received}")
    return files_of_teachers


def make_step(
    config: Config,
    optimizer: optax.GradientTransformationExtraArgs,
    side: int,
    steps: int,
    devices: Devices,
    teachers: Sequence[Teacher] = (),
) -> Step:
    """The jitted update `(state, faces uint8 [N,48,48], targets [N,C], rows [B]) -> (state, loss)`;
    the state is donated.

    Over a run of `steps` the targets come to trust the network's beliefs, linearly up to
    `config.self_distillation`. The share `config.teaching` of them is what the `teachers` say of
    the views that the network is shown: Beyer et al., "Knowledge distillation: A good teacher is
    patient and consistent", CVPR 2022.
    """
    loss_fn = robust.make_loss(
        models.create(config.model, dtype=activation_dtype()).apply, config.adversary
    )

    def step(
        state: State, faces: jax.Array, known: jax.Array, rows: jax.Array, weights: list[Variables]
    ) -> tuple[State, jax.Array]:
        augment_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        targets, beliefs = known[rows], state.beliefs
        if config.self_distillation:
            targets = losses.blend(
                targets, beliefs[rows], config.self_distillation * state.step / steps
            )
        images, targets = augment(
            augment_key, faces[rows], targets, config.augment, side, crop_of(config) / IMAGE_SIZE
        )
        if teachers:
            told = [
                jax.nn.softmax(
                    teacher.apply(variables, images).astype(jnp.float32) / teacher.temperature
                )
                for teacher, variables in zip(teachers, weights, strict=True)
            ]
            targets = losses.blend(targets, jnp.stack(told).mean(axis=0), config.teaching)
        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (batch_stats, logits)), grads = gradient(
            state.params, state.batch_stats, loss_key, images, targets
        )
        if config.self_distillation:
            seen = jax.nn.softmax(logits.astype(jnp.float32))
            beliefs = beliefs.at[rows].set(
                BELIEF_MEMORY * beliefs[rows] + (1 - BELIEF_MEMORY) * seen
            )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        # young averages forget faster
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        current = {"params": params, "batch_stats": batch_stats}
        ema = jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, state.ema, current)
        return State(state.step + 1, params, batch_stats, ema, opt_state, state.key, beliefs), loss

    jitted = jax.jit(step, donate_argnums=0, out_shardings=devices.everywhere)
    # as an argument: constants would be compiled in
    weights = [teacher.variables for teacher in teachers]
    return lambda state, faces, known, rows: jitted(state, faces, known, rows, weights)


def activation_dtype() -> Any:
    """bfloat16 on accelerators, float32 on the CPU (where bfloat16 convolutions are emulated)."""
    return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16


def crop_of(config: Config) -> int:
    """The side of the square that the network looks at."""
    return config.model.get("crop", IMAGE_SIZE)


def side_at(config: Config, epoch: int) -> int:
    """The side of the training views in an epoch (from 0)."""
    return [side for share, side in config.resolutions if share * config.epochs <= epoch + 1e-9][-1]


def fit(
    config: Config, splits: Protocol, workdir: Path, resume: bool = False, digest: str = ""
) -> Result:
    """Train until the last epoch or until early stopping, logging and checkpointing every epoch.

    Files in `workdir`: config.json, history.csv, run.json, model.pkl (best weights so far),
    checkpoints/, tensorboard/.

    Args:
        splits: `train` is trained on, `select` chooses the epoch; `report` is not touched.
        resume: go on from the newest checkpoint in `workdir`.
        digest: of the data, to be kept with the model; after a "+" that of the votes, if any.

    Raises:
        InputError: the workdir holds another run, config and data do not fit together, or the loss
            is not finite.
    """
    devices = Devices()
    _check_settings(config, splits, devices)
    refused = None
    if devices.leads:  # the others must not wait for one that has given up
        try:
            _claim(workdir, config, resume, digest)
        except (InputError, OSError) as error:
            refused = error
    if not devices.agree(refused is None):
        raise refused or InputError("process 0 did not start; it says why")
    return _Run(config, splits, workdir, digest, devices).run()


def _check_settings(config: Config, splits: Protocol, devices: Devices) -> None:
    """What a config cannot know of itself."""
    models.create(config.model)  # knows its fields
    _fitting_teachers(config)
    if (rows := len(splits.train.labels)) < config.batch_size:
        raise InputError(
            f"batch_size must be at most the {rows} training rows, is {config.batch_size}"
        )
    if config.batch_size % devices.count:
        raise InputError(
            f"batch_size must be a multiple of the {devices.count} devices, is {config.batch_size}"
        )
    if (expected := splits.targets.shape[1]) != (
        classes := config.model.get("classes", NUM_CLASSES)
    ):
        raise InputError(
            f"config key model.classes must be {expected} for protocol {splits.name}, is {classes}"
        )
    sides = [side for _, side in config.resolutions]
    if (side := max(sides)) > crop_of(config):
        raise InputError(
            f"resolutions must not exceed the network's crop of {crop_of(config)}, received {side}"
        )
    if (side := min(sides)) >> len(config.model["stages"]) == 0:
        raise InputError(
            f"resolutions must leave something after {len(config.model['stages'])} halvings, received {side}"
        )


def _check_source(path: str, config: Config, digest: str) -> None:
    """A start or a teacher: what it was selected on must not be reported, what it was trained on
    must not be selected on.

    A smaller hold-out of the same seed lies within the larger one.
    """
    told = model_file.load(path).metadata
    if config.protocol != "train-only":
        return
    if (before := told.get("protocol")) != "train-only":
        raise InputError(
            f"{path}: must be of protocol train-only, too, is of {before}, selected on test rows"
        )
    earlier = told["config"] if isinstance(told.get("config"), dict) else {}
    seed, holdout = earlier.get("seed"), earlier.get("holdout")
    # what follows is of the votes
    same = str(told.get("data_digest")).partition("+")[0] == digest.partition("+")[0]
    if (
        not same
        or seed != config.seed
        or not isinstance(holdout, float)
        or holdout < config.holdout
    ):
        raise InputError(
            f"{path}: was trained on other data, seed {seed} and holdout {holdout}: with data "
            f"{digest[:12]}..., seed {config.seed} and holdout {config.holdout} some of its rows would be held out"
        )


def _claim(workdir: Path, config: Config, resume: bool, digest: str) -> None:
    """Record the config; a workdir with a run in it is only entered to resume that very run."""
    path, wanted = workdir / "config.json", configs.to_dict(config)
    if path.exists():
        if not resume:
            raise InputError(
                f"{workdir}: already holds a run; give --resume to go on with it, or another --workdir"
            )
        # with what was added since, at its default
        found = configs.to_dict(configs.from_dict(files.read_json(path)))
        if keys := sorted(key for key in wanted if found[key] != wanted[key]):
            raise InputError(f"{path}: the run was started with other values of {', '.join(keys)}")
        told = workdir / "run.json"
        if (
            told.exists()
            and (trained_on := str(files.read_json(told).get("data_digest", ""))) != digest
        ):
            raise InputError(
                f"{told}: the run was started on other data, sha256 {trained_on[:12]}..., now {digest[:12]}..."
            )
        if told.exists() and files.read_json(told).get("teachers_sha256", []) != _digests(
            config.teachers
        ):
            raise InputError(
                f"{told}: the run was started with other teachers than {', '.join(config.teachers)} are now"
            )
    else:
        for source in (config.init_from, *config.teachers):
            if source:
                _check_source(source, config, digest)
    with files.replacing(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2) + "\n")


def _digests(paths: Sequence[str]) -> list[str]:
    return [files.digest(Path(path)) for path in paths]


class _Run:
    """The pieces of one run that live on the host."""

    def __init__(
        self, config: Config, splits: Protocol, workdir: Path, digest: str, devices: Devices
    ):
        self.config, self.splits, self.workdir, self.digest = config, splits, workdir, digest
        self.devices = devices
        # of the code that runs, whatever is committed while it does
        self.revision = _git_revision()
        self.revisions: list[str] = []  # of earlier sittings
        self.start = ""  # sha256 of `init_from`
        self.steps_per_epoch = len(splits.train.labels) // config.batch_size
        self.total = self.steps_per_epoch * config.epochs
        self.schedule = make_schedule(config, self.total)
        self.optimizer = make_optimizer(config, self.total, self.steps_per_epoch)
        self.apply = jax.jit(models.create(config.model).apply, out_shardings=devices.everywhere)
        targets = losses.smooth(jnp.asarray(splits.targets), config.label_smoothing)
        self.faces, self.targets = devices.replicate((jnp.asarray(splits.train.images), targets))
        self.sample = _sample(splits.train, config.seed, TRAINING_SAMPLE)
        dear = jax.default_backend() == "cpu" and config.adversary.method != "noise"
        self.judged = (
            _sample(splits.select, config.seed, ATTACKED_SAMPLE) if dear else splits.select
        )
        self.teachers, self.taught_by = read_teachers(config, devices), _digests(config.teachers)
        self.steps: dict[int, Step] = {}

    def run(self) -> Result:
        """From the newest checkpoint, or from the start, to the end."""
        with (
            Checkpoints(self.workdir / "checkpoints") as checkpoints,
            self._tensorboard() as writer,
        ):
            state, progress = checkpoints.restore(self.begin(anew=checkpoints.latest is None))
            self._require_space(state, progress)  # now, not after the first epoch
            history = self._read_log(int(progress.epoch))
            with self._bar(int(progress.epoch)) as bar:
                while int(progress.epoch) < self.config.epochs and not self._stopped(
                    progress, history
                ):
                    state, progress, row, logits = self._turn(state, progress, bar)
                    history.append(row)
                    self._require_space(state, progress)
                    if self.devices.leads:
                        bar.write(_line(row, best=int(progress.best_epoch) == row["epoch"]))
                        sys.stdout.flush()  # hours of them would wait in the buffer of a pipe
                        self._save(progress, history)
                    if writer is not None:
                        self._log(writer, row, logits)
                    checkpoints.save(row["epoch"], (state, progress))
                if self.devices.leads and (why := self._stopped(progress, history)):
                    bar.write(f"early stopping: {why}")
        return Result(self._model(progress, history), pd.DataFrame(history))

    def begin(self, anew: bool = True) -> tuple[State, Progress]:
        """Before the first step; unless `anew`, only the shape of it, for which `init_from` need
        not be there any more.
        """
        config = self.config if anew else dataclasses.replace(self.config, init_from="")
        self.start = files.digest(Path(config.init_from)) if config.init_from else ""
        state = self.devices.replicate(make_state(config, self.optimizer, self.targets))
        zero = jnp.zeros((), jnp.int32)
        return state, self.devices.replicate(
            Progress(zero, state.ema, jnp.float32(-jnp.inf), zero, zero)
        )

    def _require_space(self, state: State, progress: Progress) -> None:
        """For one more checkpoint, beside those that are kept, and a model file."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((state, progress)))
        files.require_space(self.workdir, 2 * size + 2**20)

    def _turn(
        self, state: State, progress: Progress, bar: tqdm
    ) -> tuple[State, Progress, Row, np.ndarray]:
        """Train for one epoch, evaluate, judge; also the row for the log and the hold-out's logits."""
        began = time.perf_counter()
        epoch = int(progress.epoch)
        state, loss = self._epoch(state, epoch, bar)
        row, logits = self._evaluate(state, epoch)
        progress = self._judge(state, progress, row)
        return (
            state,
            progress,
            {**row, "step_loss": loss, "seconds": time.perf_counter() - began},
            logits,
        )

    def _epoch(self, state: State, epoch: int, bar: tqdm) -> tuple[State, float]:
        """One pass over the training rows in an order of its own; returns the mean training loss
        too.
        """
        side = side_at(self.config, epoch)
        if side not in self.steps:
            self.steps[side] = make_step(
                self.config, self.optimizer, side, self.total, self.devices, self.teachers
            )
        step = self.steps[side]
        order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self.targets))
        seen = []
        for i in range(self.steps_per_epoch):
            rows = order[i * self.config.batch_size : (i + 1) * self.config.batch_size].astype(
                np.int32
            )
            state, loss = step(state, self.faces, self.targets, self.devices.split(rows))
            seen.append(loss)
            if (i + 1) % CHECK_EVERY == 0 or i + 1 == self.steps_per_epoch:
                self._check_finite(float(loss), epoch, i)
                bar.set_postfix_str(
                    f"epoch {epoch + 1}/{self.config.epochs}, loss {float(loss):.3f}", refresh=False
                )
            bar.update(_cost(side))
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.params))
        self._check_finite(largest, epoch, self.steps_per_epoch - 1, "largest weight")
        return state, float(np.mean(jax.device_get(seen)))

    def _check_finite(self, value: float, epoch: int, i: int, name: str = "loss") -> None:
        if not value <= LARGEST:  # also refuses NaN
            rate = self.config.optimizer.learning_rate
            raise InputError(
                f"training diverged: the {name} is {value} in epoch {epoch + 1}, step {i + 1}; "
                f"start again with a lower optimizer.learning_rate (now {rate})"
            )

    def _evaluate(self, state: State, epoch: int) -> tuple[Row, np.ndarray]:
        """Averaged weights in evaluation mode on plain images: the fixed training sample and the
        whole hold-out.
        """
        logits_fn = lambda images: self.apply(state.ema, self.devices.split(images))
        batch_size = -(-EVALUATED_TOGETHER // self.devices.count) * self.devices.count
        sample = predict_logits(logits_fn, self.sample.images, batch_size)
        train = summary(sample, self.sample.labels)
        logits = predict_logits(logits_fn, self.splits.select.images, batch_size)
        holdout = summary(logits, self.splits.select.labels)
        row = {"epoch": epoch + 1, "lr": self._rate(state)}
        row |= {"train_loss": train["loss"], "train_accuracy": train["accuracy"]}
        row |= {f"holdout_{name}": value for name, value in holdout.items()}
        if self.config.adversary.method != "none":
            row |= {"holdout_robust_accuracy": self._robust_accuracy(state)}
        return row | {
            "temperature": calibration.fit_temperature(logits, self.splits.select.labels)
        }, logits

    def _robust_accuracy(self, state: State) -> float:
        """On the fixed part of the hold-out, under what stands for the adversary in the evaluation."""
        images, labels = self.judged
        logits_fn = Partial(self.apply, state.ema)
        attack, right = robust.judge(self.config.adversary), []
        for start in range(0, len(labels), EVALUATED_TOGETHER):
            rows, key = (
                slice(start, start + EVALUATED_TOGETHER),
                jax.random.fold_in(jax.random.key(0), start),
            )
            batch = jnp.asarray(images[rows, ..., None] / np.float32(255))
            hacked = attack(key, logits_fn, batch, jnp.asarray(labels[rows]))
            right.append(np.asarray(logits_fn(hacked)).argmax(axis=1) == labels[rows])
        return float(np.concatenate(right).mean())

    def _rate(self, state: State) -> float:
        """The rate of the step before."""
        scale = 1.0
        if self.config.optimizer.schedule == "plateau":
            scale = float(optax.tree.get(state.opt_state, "scale"))
        return float(np.asarray(self.schedule(state.step - 1))) * scale

    def _judge(self, state: State, progress: Progress, row: Row) -> Progress:
        """Keep the weights of a better epoch; otherwise count it, once the rate has come down."""
        settings = self.config.early_stopping
        known = {"loss": lambda: -row["holdout_loss"], "last": lambda: row["epoch"]}
        value = known.get(settings.monitor, lambda: row[f"holdout_{settings.monitor}"])()
        value = float(np.float32(value))  # as `best_value` is kept: an equal epoch is no better one
        epoch = jnp.int32(row["epoch"])
        if value > float(progress.best_value) + settings.min_delta:
            best = jax.tree.map(jnp.copy, state.ema)  # the next step donates the state's own
            return self.devices.replicate(
                Progress(epoch, best, jnp.float32(value), epoch, jnp.zeros((), jnp.int32))
            )
        waited = jnp.int32(int(progress.waited) + int(self._counts(row)))
        return self.devices.replicate(
            Progress(epoch, progress.best, progress.best_value, progress.best_epoch, waited)
        )

    def _counts(self, row: Row) -> bool:
        optimizer, epochs = self.config.optimizer, self.config.epochs
        if optimizer.schedule == "plateau":
            return True
        low = row["lr"] < self.config.early_stopping.rate_below * optimizer.learning_rate
        return low and row["epoch"] > optimizer.warmup * epochs

    def _stopped(self, progress: Progress, history: list[Row]) -> str:
        """Why the run ends before its last epoch, "" where it goes on."""
        if overfitted := robust.overfitted(history):
            return overfitted
        waited = int(progress.waited) >= self.config.early_stopping.patience
        return f"no better epoch than {int(progress.best_epoch)}" if waited else ""

    def _bar(self, done: int) -> tqdm:
        """One bar for the whole run, in units of a full-size step, so that the time left is true
        for growing views.
        """
        costs = [
            self.steps_per_epoch * _cost(side_at(self.config, epoch))
            for epoch in range(self.config.epochs)
        ]
        disable = None if self.devices.leads else True  # None: where there is no terminal
        form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
        return tqdm(total=sum(costs), initial=sum(costs[:done]), bar_format=form, disable=disable)

    def _read_log(self, done: int) -> list[Row]:
        """The rows of the `done` epochs that a resumed run has behind it; run.json says what they
        were made with.
        """
        if not done:
            return []
        told = files.read_json(self.workdir / "run.json")
        self.revisions, self.start = (
            str(told.get("git_revision", "")).split(", "),
            str(told.get("init_sha256", "")),
        )
        path = self.workdir / "history.csv"
        try:
            rows = pd.read_csv(path).to_dict("records")[:done]
        except ValueError as error:  # pandas' parser errors are ValueErrors
            raise InputError(
                f"{path}: must be the log of the run: {' '.join(str(error).split())}"
            ) from None
        if [row.get("epoch") for row in rows] != list(range(1, done + 1)):
            raise InputError(
                f"{path}: must have a row for each of the {done} epochs of the newest checkpoint"
            )
        return rows

    def _tensorboard(self) -> AbstractContextManager[Any]:
        return _tensorboard(self.workdir / "tensorboard") if self.devices.leads else nullcontext()

    def _log(self, writer: Any, row: Row, logits: np.ndarray) -> None:
        """Scalars, and the hold-out's confusion matrix (rows the true class) as a picture."""
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
        matrix = confusion(self.splits.select.labels, logits.argmax(axis=1), logits.shape[1])
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        picture = np.kron(shares, np.ones((24, 24)))[None].astype(np.float32)
        writer.add_image("holdout/confusion", picture, row["epoch"])
        writer.flush()

    def _save(self, progress: Progress, history: list[Row]) -> None:
        """History and, after a better epoch, the model (kernels rounded to float16); each whole or
        not at all.
        """
        with files.replacing(self.workdir / "history.csv") as temporary:
            pd.DataFrame(history).to_csv(temporary, index=False, float_format="%.6g")
        with files.replacing(self.workdir / "run.json") as temporary:
            temporary.write_text(json.dumps(self._metadata(progress, history), indent=2) + "\n")
        if int(progress.best_epoch) == int(progress.epoch):
            model_file.save(
                self.workdir / "model.pkl", self._model(progress, history), dtype="float16"
            )

    def _model(self, progress: Progress, history: list[Row]) -> ModelFile:
        variables, metadata = jax.device_get(progress.best), self._metadata(progress, history)
        temperature = metadata["best"]["temperature"]
        # `Protocol.labels` will name it
        labels = "ferplus" if self.splits.targets.shape[1] == 8 else "fer2013"
        return ModelFile(self.config.model, variables, metadata, temperature, labels)

    def _metadata(self, progress: Progress, history: list[Row]) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "protocol": self.config.protocol,
            "config": json.loads(json.dumps(configs.to_dict(self.config))),
            "data_digest": self.digest,
            # of every sitting
            "git_revision": ", ".join(dict.fromkeys([*self.revisions, self.revision])),
            "init_sha256": self.start,
            "teachers_sha256": self.taught_by,
            "versions": {
                name: _version(name)
                for name in ("fer_jax", "jax", "jaxlib", "flax", "optax", "numpy")
            },
            "backend": jax.default_backend(),
            "best_epoch": int(progress.best_epoch),
            "epochs_done": int(progress.epoch),
            "stopped": self._stopped(progress, history),
            "best": next((row for row in history if row["epoch"] == int(progress.best_epoch)), {}),
            "train_seconds": sum(row["seconds"] for row in history),
        }


def _cost(side: int) -> float:
    return (side / IMAGE_SIZE) ** 2


def _sample(split: Split, seed: int, size: int) -> Split:
    """Up to `size` rows, always the same: what the training curve and the robust accuracy are
    measured on.
    """
    rows = np.random.default_rng(seed).choice(
        len(split.labels), min(size, len(split.labels)), replace=False
    )
    return Split(split.images[rows], split.labels[rows])


def _line(row: Row, best: bool) -> str:
    robust_accuracy = row.get("holdout_robust_accuracy")
    hacked = "" if robust_accuracy is None else f"robust acc {robust_accuracy:.3f}  "
    return (
        f"epoch {row['epoch']:3d}  train loss {row['train_loss']:.3f} acc {row['train_accuracy']:.3f}  "
        f"hold-out loss {row['holdout_loss']:.3f} acc {row['holdout_accuracy']:.3f} "
        f"precision {row['holdout_precision']:.3f} recall {row['holdout_recall']:.3f} F1 {row['holdout_f1']:.3f}  {hacked}"
        f"rate {row['lr']:.2g}  {row['seconds']:.0f} s{'  *' if best else ''}"
    )


@contextmanager
def _tensorboard(directory: Path) -> Iterator[Any]:
    """A tensorboardX writer, or None (said in one line) where the package is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print("tensorboardX is not installed: no TensorBoard log", file=sys.stderr)
        yield None
        return
    with SummaryWriter(str(directory)) as writer:
        yield writer


def _git_revision() -> str:
    """The commit of the checkout that this file lies in, "+" appended if it has changes; "" outside
    a checkout.
    """
    here = Path(__file__).resolve().parents[1]
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

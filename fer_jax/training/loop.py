"""The training loop: epochs of jitted steps, evaluation of averaged weights, checkpoints, logs.

result = fit(config, data.protocol(data.load(), config.protocol), workdir=Path("runs/vgg"))
result.model    # a ModelFile with the best epoch's weights
"""

import sys
import time
from argparse import Namespace
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.tree_util import Partial
from tqdm import tqdm

from fer_jax import files, models
from fer_jax.config import Config, load
from fer_jax.data import Digest, Protocol, Split, training_data
from fer_jax.errors import InputError
from fer_jax.evaluation import calibration
from fer_jax.evaluation.logits import predict_logits
from fer_jax.evaluation.summary import summary
from fer_jax.models.layers import on_cpu
from fer_jax.models.model_file import ModelFile, save
from fer_jax.training import interrupts, log, losses, starts, step, stopping
from fer_jax.training.parallel import Devices, join
from fer_jax.training.workdir import Checkpoints, claim, has_checkpoint, locked
from fer_jax.types import IMAGE_SIZE

# a loss or a weight beyond this is lost, and a model file cannot hold it
LARGEST = float(np.finfo(np.float16).max)
EVALUATED_TOGETHER = 256  # images
TRAINING_SAMPLE = 1024  # rows of the training split on which its learning curve is measured
ATTACKED_SAMPLE = 512  # rows of the hold-out that a CPU attacks each epoch, in 8 % of its time
NO_DIGEST = Digest("")


class Result(NamedTuple):
    """The best epoch's weights, and a row for every epoch."""

    model: ModelFile
    history: pd.DataFrame


def fit(
    config: Config, splits: Protocol, workdir: Path, resume=False, digest: Digest = NO_DIGEST
) -> Result:
    """Train until the last epoch or until early stopping, logging and checkpointing every epoch.

    Files in `workdir`: config.json, history.csv, run.json, model.pkl (best weights so far),
    checkpoints/ (from the newest of which a run resumes), tensorboard/. Of `splits`, `report` is
    not touched. An InputError says what does not fit together, or that the loss is not finite.
    """
    devices = Devices()
    check(config, splits, devices)
    teachers = [starts.read_teacher(path, config, digest) for path in config.teachers]
    begun = resume and has_checkpoint(workdir / "checkpoints")
    wanted = config.init_from and not begun
    start = starts.read(config.init_from, config, digest) if wanted else None
    hashes = [teacher.sha256 for teacher in teachers]
    with ExitStack() as stack:
        refused = None
        if devices.leads:  # the others must not wait for one that has given up
            try:
                stack.enter_context(locked(workdir))
                claim(workdir, config, resume, digest, hashes)
            except (InputError, OSError) as error:
                refused = error
        if not devices.agree(refused is None):
            raise refused or InputError("process 0 did not start; it says why")
        earlier = files.read_json(workdir / log.RUN) if begun else {}
        init = start.sha256 if start else str(earlier.get("init_sha256", ""))
        origin = log.origin(config, digest, init, hashes, earlier)
        run = _Run(config, splits, workdir, devices, [each.model for each in teachers], origin)
        return run.run(start)


def train(args: Namespace) -> None:
    """Train as the options of scripts/train.py say, and print what came of it.

    For programs only: see `interrupts`.
    """
    if args.coordinator:
        join(args.coordinator, args.processes, args.process)
    elif (args.processes, args.process) != (1, 0):
        raise InputError("--processes and --process need --coordinator HOST:PORT")
    config = load(args.config, args.set)
    models.create(config.model)  # refused before the data are read
    drawn = {"seed": config.seed, "holdout": config.holdout, "votes": config.votes}
    splits, digest = training_data(args.data, config.protocol, extra=args.extra, **drawn)
    workdir = args.workdir or files.root() / "runs" / config.name
    if args.process == 0:
        rows = f"{len(splits.train.labels):,} training rows"
        print(f"{config.name}: {rows}, {len(splits.select.labels):,} to select on")
    advice = f"{workdir} keeps the finished epochs; the same command with --resume goes on"
    with interrupts.answered(advice):
        result = fit(config, splits, workdir, args.resume, digest)
    if args.process == 0:
        best = result.model.metadata["best"]
        accuracy = f"hold-out accuracy {best['holdout_accuracy']:.4f}"
        print(f"best epoch {best['epoch']}: {accuracy}; wrote {workdir / 'model.pkl'}")


def check(config: Config, splits: Protocol, devices: Devices) -> None:
    """Check the settings that need the network, the data or the number of devices."""
    model, rows, batch = models.create(config.model), len(splits.train.labels), config.batch_size
    if rows < batch:
        raise InputError(f"batch_size must be at most the {rows} training rows, is {batch}")
    if batch % (count := devices.count):
        raise InputError(f"batch_size must be a multiple of the {count} devices, is {batch}")
    if model.channels != 1:
        raise InputError(f"the model must take grey images, of 1 channel, takes {model.channels}")
    if (classes := splits.targets.shape[1]) != model.classes:
        rule = f"config key model.classes must be {classes} for protocol {splits.name}"
        raise InputError(f"{rule}, is {model.classes}")
    sides = [side for _, side in config.resolutions]
    if max(sides) > model.crop:
        rule = f"must not exceed the network's crop of {model.crop}"
        raise InputError(f"resolutions {rule}, received {max(sides)}")
    if min(sides) < model.smallest_side:
        rule = f"must be at least the network's smallest side, {model.smallest_side}"
        raise InputError(f"resolutions {rule}, received {min(sides)}")


def side_at(config: Config, epoch: int) -> int:
    """Return the side of the training views in an epoch (from 0)."""
    return [side for share, side in config.resolutions if share * config.epochs <= epoch + 1e-9][-1]


@dataclass
class _Run:
    """The pieces of one run that live on the host."""

    config: Config
    splits: Protocol
    workdir: Path
    devices: Devices
    teachers: list[ModelFile]
    origin: dict[str, Any]  # metadata that stay

    def __post_init__(self):
        config, splits, devices = self.config, self.splits, self.devices
        self.steps_per_epoch = len(splits.train.labels) // config.batch_size
        self.total = self.steps_per_epoch * config.epochs
        self.optimizer = step.make_optimizer(config, self.total, self.steps_per_epoch)
        self.apply = jax.jit(models.create(config.model).apply, out_shardings=devices.everywhere)
        targets = losses.smooth(jnp.asarray(splits.targets), config.label_smoothing)
        self.faces, self.targets = devices.replicate((jnp.asarray(splits.train.images), targets))
        self.sample = _sample(splits.train, config.seed, TRAINING_SAMPLE)
        expensive = on_cpu() and config.adversary.method != "noise"
        attacked = _sample(splits.select, config.seed, ATTACKED_SAMPLE)
        self.attacked = attacked if expensive else splits.select
        self.side = 0  # of the views that `self.step` is compiled for
        self.history: list[stopping.Row] = []

    def run(self, start: starts.Source | None) -> Result:
        """Go from the newest checkpoint, or from the `start`, to the end."""
        config, lead = self.config, self.devices.leads
        board = log.tensorboard(self.workdir / "tensorboard") if lead else nullcontext()
        with Checkpoints(self.workdir / "checkpoints") as checkpoints, board as writer:
            state = step.make_state(config, self.optimizer, self.targets, start)
            state = self.devices.replicate(state)
            progress = self.devices.replicate(stopping.begin(state.ema))
            state, progress = checkpoints.restore((state, progress))
            self._require_space(state, progress)  # now, not after the first epoch
            self.history = log.resumed_history(self.workdir, int(progress.epoch))
            why = stopping.stopped(config, progress, self.history)
            with self._bar() as bar:
                while len(self.history) < config.epochs and not why:
                    state, progress, logits = self._turn(state, progress, bar)
                    why = stopping.stopped(config, progress, self.history)
                    self._require_space(state, progress)
                    with interrupts.deferred():
                        if lead:
                            self._save(progress, why)
                        if writer is not None:
                            labels = self.splits.select.labels
                            log.to_tensorboard(writer, self.history[-1], labels, logits)
                        checkpoints.save(len(self.history), (state, progress))
                        if lead:  # last: whoever sees the line has the epoch
                            best = int(progress.best_epoch) == len(self.history)
                            bar.write(log.line(self.history[-1], best))
                            sys.stdout.flush()  # else hours of them wait in a pipe's buffer
                if lead and why:
                    bar.write(f"early stopping: {why}")
        return Result(self._model(progress, why), pd.DataFrame(self.history))

    def _require_space(self, state: step.State, progress: stopping.Progress) -> None:
        """For one more checkpoint, beside those that are kept, and a model file."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves((state, progress)))
        files.require_space(self.workdir, 2 * size + 2**20)

    def _turn(self, state: step.State, progress: stopping.Progress, bar: tqdm):
        """Train for one epoch, evaluate, log, judge; also the hold-out's logits."""
        began = time.perf_counter()
        state, loss = self._train(state, len(self.history), bar)
        row, logits = self._evaluate(state)
        progress = stopping.judge(self.config, progress, row, state.ema)
        self.history.append(row | {"step_loss": loss, "seconds": time.perf_counter() - began})
        return state, self.devices.replicate(progress), logits

    def _train(self, state: step.State, epoch: int, bar: tqdm) -> tuple[step.State, float]:
        """Pass over the training rows in an order of the epoch's; also the mean training loss."""
        config, side, devices = self.config, side_at(self.config, epoch), self.devices
        if side != self.side:
            run = (self.total, devices, self.teachers)
            self.side, self.step = side, step.make_step(config, self.optimizer, side, *run)
        order = np.random.default_rng((config.seed, epoch)).permutation(len(self.targets))
        order = order[: self.steps_per_epoch * config.batch_size].astype(np.int32)
        seen = []
        for rows in np.split(order, self.steps_per_epoch):
            state, loss = self.step(state, self.faces, self.targets, devices.split(rows))
            # Wait for the step before: else many would be queued, and Ctrl-C would wait for all.
            if seen:
                value = self._finite(float(seen[-1]), epoch, len(seen))
                text = f"epoch {epoch + 1}/{config.epochs}, loss {value:.3f}"
                bar.set_postfix_str(text, refresh=False)
            bar.update(_cost(side))
            seen.append(loss)
        self._finite(float(seen[-1]), epoch, len(seen))
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.params))
        self._finite(largest, epoch, len(seen), "largest weight")
        return state, float(np.mean(jax.device_get(seen)))

    def _finite(self, value: float, epoch: int, steps: int, name: str = "loss") -> float:
        if not value <= LARGEST:  # also refuses NaN
            rate = self.config.optimizer.learning_rate
            where = f"training diverged: the {name} is {value} in epoch {epoch + 1}, step {steps}"
            advice = f"start again with a lower optimizer.learning_rate (now {rate})"
            raise InputError(f"{where}; {advice}")
        return value

    def _evaluate(self, state: step.State) -> tuple[stopping.Row, np.ndarray]:
        """Judge averaged weights on plain images: the training sample and the whole hold-out."""
        select, count, adversaries = self.splits.select, self.devices.count, self.config.adversary
        logits_fn = lambda images: self.apply(state.ema, self.devices.split(images))
        batch_size = -(-EVALUATED_TOGETHER // count) * count
        train = predict_logits(logits_fn, self.sample.images, batch_size)
        train = summary(train, self.sample.labels)
        logits = predict_logits(logits_fn, select.images, batch_size)
        rate = step.learning_rate(self.config, state, self.total)
        row = {"epoch": len(self.history) + 1, "lr": rate}
        row |= {"train_loss": train["loss"], "train_accuracy": train["accuracy"]}
        row |= {f"holdout_{name}": each for name, each in summary(logits, select.labels).items()}
        if adversaries.method != "none":
            network = Partial(self.apply, state.ema)
            robust = losses.robust_accuracy(adversaries, network, *self.attacked)
            row["holdout_robust_accuracy"] = robust
        row["temperature"] = calibration.fit_temperature(logits, select.labels)
        return row, logits

    def _bar(self) -> tqdm:
        """One bar for the whole run; its unit, a full-size step, serves growing views, too."""
        sides = [side_at(self.config, epoch) for epoch in range(self.config.epochs)]
        costs = [self.steps_per_epoch * _cost(side) for side in sides]
        done = sum(costs[: len(self.history)])
        disable = None if self.devices.leads else True  # None: where there is no terminal
        form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
        return tqdm(total=sum(costs), initial=done, bar_format=form, disable=disable)

    def _save(self, progress: stopping.Progress, why: str) -> None:
        """Write history, metadata and, after a better epoch, the model (kernels as float16)."""
        log.write_history(self.workdir, self.history)
        files.write_json(self.workdir / log.RUN, self._metadata(progress, why))
        if int(progress.best_epoch) == int(progress.epoch):
            path = self.workdir / "model.pkl"
            save(path, self._model(progress, why), dtype="float16")

    def _metadata(self, progress: stopping.Progress, why: str) -> dict[str, Any]:
        return self.origin | log.outcome(progress, self.history, why)

    def _model(self, progress: stopping.Progress, why: str) -> ModelFile:
        metadata = self._metadata(progress, why)
        variables, temperature = jax.device_get(progress.best), metadata["best"]["temperature"]
        return ModelFile(self.config.model, variables, metadata, temperature, self.splits.labels)


def _cost(side: int) -> float:
    return (side / IMAGE_SIZE) ** 2


def _sample(split: Split, seed: int, size: int) -> Split:
    """Up to `size` rows, always the same."""
    n = len(split.labels)
    rows = np.random.default_rng(seed).choice(n, min(size, n), replace=False)
    return split.at(rows)

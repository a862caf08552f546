"""A training run as scripts/train.py starts it: from files to a model file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer_jax import config as configs
from fer_jax import data, files
from fer_jax.errors import InputError
from fer_jax.training import interrupts, loop, parallel


class Processes(NamedTuple):
    """Several processes that train as one: where the first listens, how many, and which we are."""

    coordinator: str = ""
    count: int = 1
    number: int = 0


ALONE = Processes()


def train(
    config_path: Path,
    overrides: Sequence[str],
    folder: Path,
    extras: Sequence[Path] = (),
    workdir: Path | None = None,
    resume: bool = False,
    processes: Processes = ALONE,
) -> None:
    """Train as a config file says, and print what came of it. For programs: see `interrupts`.

    Args:
        overrides: of the config's values, as KEY=VALUE.
        folder: of FER-2013, and of FER+'s votes where the config needs them.
        extras: folders of more training pictures.
        workdir: of the run; runs/NAME by default.
        resume: go on from the newest checkpoint in the workdir.

    Raises:
        InputError: files, values or data that do not fit together.
    """
    if processes.coordinator:
        parallel.join(*processes)
    elif processes != ALONE:
        raise InputError("--processes and --process need --coordinator HOST:PORT")
    config = configs.load(config_path, overrides)
    drawn = {"seed": config.seed, "holdout": config.holdout, "votes": config.votes}
    splits, digest = data.training_data(folder, config.protocol, extra=extras, **drawn)
    workdir = workdir or files.root() / "runs" / config.name
    leads = processes.number == 0
    if leads:
        rows = f"{len(splits.train.labels):,} training rows"
        print(f"{config.name}: {rows}, {len(splits.select.labels):,} to select on")
    advice = f"{workdir} keeps the finished epochs; the same command with --resume goes on"
    with interrupts.answered(advice):
        result = loop.fit(config, splits, workdir, resume, digest)
    best = result.model.metadata["best"]
    if leads:
        accuracy = f"hold-out accuracy {best['holdout_accuracy']:.4f}"
        print(f"best epoch {best['epoch']}: {accuracy}; wrote {workdir / 'model.pkl'}")

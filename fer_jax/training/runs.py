"""A training run as scripts/train.py starts it: from files to a model file."""

from collections.abc import Sequence
from pathlib import Path

from fer_jax import data, files
from fer_jax.config import load
from fer_jax.errors import InputError
from fer_jax.training import interrupts, loop, parallel


def train(
    config: Path,
    overrides: Sequence[str],
    data_folder: Path,
    extra: Sequence[Path] = (),
    workdir: Path | None = None,
    resume: bool = False,
    coordinator: str = "",
    processes: int = 1,
    process: int = 0,
) -> None:
    """Train as a config file says, and print what came of it. For programs: see `interrupts`.

    `overrides`, `extra`, `workdir` (runs/NAME by default) and the processes that train as one are
    as `config.load`, `data.training_data`, `loop.fit` and `parallel.join` take them.
    """
    if coordinator:
        parallel.join(coordinator, processes, process)
    elif (processes, process) != (1, 0):
        raise InputError("--processes and --process need --coordinator HOST:PORT")
    settings = load(config, overrides)
    drawn = {"seed": settings.seed, "holdout": settings.holdout, "votes": settings.votes}
    splits, digest = data.training_data(data_folder, settings.protocol, extra=extra, **drawn)
    workdir = workdir or files.root() / "runs" / settings.name
    if process == 0:
        rows = f"{len(splits.train.labels):,} training rows"
        print(f"{settings.name}: {rows}, {len(splits.select.labels):,} to select on")
    advice = f"{workdir} keeps the finished epochs; the same command with --resume goes on"
    with interrupts.answered(advice):
        result = loop.fit(settings, splits, workdir, resume, digest)
    if process == 0:
        best = result.model.metadata["best"]
        accuracy = f"hold-out accuracy {best['holdout_accuracy']:.4f}"
        print(f"best epoch {best['epoch']}: {accuracy}; wrote {workdir / 'model.pkl'}")

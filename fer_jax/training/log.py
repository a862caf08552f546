"""What a run leaves for people to read: a line per epoch, history.csv, run.json, TensorBoard."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from fer_jax import files
from fer_jax.config import Config, to_dict
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.evaluation.metrics import confusion
from fer_jax.models.layers import training_dtype
from fer_jax.training.stopping import Progress, Row

HISTORY, RUN = "history.csv", "run.json"
_VERSIONS = ("fer_jax", "jax", "jaxlib", "flax", "optax", "numpy")
_NAMES = {"loss": "loss", "accuracy": "acc", "precision": "precision", "recall": "recall"}
_NAMES |= {"f1": "F1", "robust_accuracy": "robust acc"}


def line(row: Row, best: bool) -> str:
    """Return an epoch's figures for the terminal; a star marks the best one so far."""
    figures = {name: row.get(f"holdout_{key}") for key, name in _NAMES.items()}
    holdout = [f"{name} {each:.3f}" for name, each in figures.items() if each is not None]
    train = f"train loss {row['train_loss']:.3f} acc {row['train_accuracy']:.3f}"
    end = f"rate {row['lr']:.2g}  {row['seconds']:.0f} s{'  *' if best else ''}"
    return f"epoch {row['epoch']:3d}  {train}  hold-out {' '.join(holdout)}  {end}"


def write_history(workdir: Path, history: Sequence[Row]) -> None:
    """Write history.csv, one row per epoch."""
    with files.replacing(workdir / HISTORY) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False, float_format="%.6g")


def read_history(folder: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a run's history.csv: one row per epoch, with these columns as numbers and all others."""
    path, numbers = folder / HISTORY, dict.fromkeys(columns, float)
    if not path.is_file():
        raise InputError(f"{path}: no training log there; scripts/train.py writes one")
    try:
        history = pd.read_csv(path).astype(numbers | {"epoch": int})
    # pandas' parser errors are ValueErrors, a missing column is a KeyError
    except (ValueError, KeyError) as error:
        rule = f"a training log needs numbers in columns {', '.join(numbers)}"
        raise InputError(f"{path}: {rule}: {str(error).splitlines()[0]}") from None
    if history.empty:
        raise InputError(f"{path}: a training log needs at least one epoch, received none")
    return history


def resumed_history(workdir: Path, done: int) -> list[Row]:
    """Read the rows of the `done` epochs that a resumed run has behind it."""
    rows = read_history(workdir, ["epoch"]).to_dict("records")[:done] if done else []
    if [row["epoch"] for row in rows] != list(range(1, done + 1)):
        rule = f"must have a row for each of the {done} epochs of the newest checkpoint"
        raise InputError(f"{workdir / HISTORY}: {rule}")
    return rows


def origin(
    config: Config, digest: Digest, init_sha256: str, teachers: list[str], earlier: dict[str, Any]
) -> dict[str, Any]:
    """Return the metadata that a run has from its first epoch on.

    They name the sha256 of the model file that it starts from ("" without) and of its teachers, and
    the code and the type of activations of all sittings: `earlier` is run.json of the one before,
    empty at the start.
    """

    def with_earlier(key: str, now: str) -> str:
        values = [*str(earlier.get(key, "")).split(", "), now]
        return ", ".join(dict.fromkeys(filter(None, values)))

    return {
        "name": config.name,
        "protocol": config.protocol,
        "config": json.loads(json.dumps(to_dict(config))),
        "data_digest": str(digest),
        "git_revision": with_earlier("git_revision", _git_revision()),
        "init_sha256": init_sha256,
        "teachers_sha256": teachers,
        "versions": {name: _version(name) for name in _VERSIONS},
        "backend": jax.default_backend(),
        "activations": with_earlier("activations", jnp.dtype(training_dtype()).name),
    }


def outcome(progress: Progress, history: Sequence[Row], stopped: str) -> dict[str, Any]:
    """Return the metadata that change with every epoch; `stopped` says why the run ends, if so."""
    best = int(progress.best_epoch)
    return {
        "best_epoch": best,
        "epochs_done": int(progress.epoch),
        "stopped": stopped,
        "best": next((row for row in history if row["epoch"] == best), {}),
        "train_seconds": sum(row["seconds"] for row in history),
    }


@contextmanager
def tensorboard(directory: Path) -> Iterator[Any]:
    """Yield a tensorboardX writer, or None, said in one line, where the package is missing."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print("tensorboardX is not installed: no TensorBoard log", file=sys.stderr)
        yield None
        return
    with SummaryWriter(str(directory)) as writer:
        yield writer


def to_tensorboard(writer: Any, row: Row, labels: np.ndarray, logits: np.ndarray) -> None:
    """Write an epoch's scalars, and the hold-out's confusion matrix (rows the true class)."""
    for name, value in row.items():
        if name != "epoch":
            writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
    matrix = confusion(labels, logits.argmax(axis=1), logits.shape[1])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    picture = np.kron(shares, np.ones((24, 24)))[None].astype(np.float32)
    writer.add_image("holdout/confusion", picture, row["epoch"])
    writer.flush()


def _git_revision() -> str:
    """The commit of our checkout, "+" appended if it has changes; "" outside a checkout."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

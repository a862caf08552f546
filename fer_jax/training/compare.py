"""What training runs reached: a table of several, and learning curves, from their folders.

A run's folder is what `loop.fit` writes: config.json, and from the first epoch on run.json and
history.csv. One that holds no run or a damaged one is an InputError.
"""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from flax.traverse_util import flatten_dict

from fer_jax import files, plots
from fer_jax.errors import InputError
from fer_jax.training.log import RUN, read_history

_COMPARED = ("epoch", "lr", "holdout_loss", "holdout_accuracy", "seconds")
_CURVES = ("epoch", "train_loss", "train_accuracy", "holdout_loss", "holdout_accuracy")
# what is needed of config.json; the rest may be another version's
_CONFIG = {"name": str, "protocol": str, "seed": int, "epochs": int}


class Run(NamedTuple):
    """One folder; before the first epoch has ended, `metadata` and `history` are empty."""

    label: str
    config: dict[str, Any]  # by dotted key
    metadata: dict[str, Any]  # run.json
    history: pd.DataFrame


def compare(folders: Iterable[Path], picture: Path | None = None, csv: Path | None = None) -> None:
    """Print a table of runs, and write it and their curves, if asked."""
    files.require_ending(picture, *plots.ENDINGS)
    files.require_ending(csv, ".csv")
    unique = {folder.resolve(): folder for folder in folders}
    plain = len({path.name for path in unique}) == len(unique)  # names alone tell the runs apart
    runs = [read(folder, path.name if plain else str(folder)) for path, folder in unique.items()]
    rows = table(runs)
    print(rows.T.to_string(max_colwidth=32))
    if csv:
        with files.replacing(csv) as temporary:
            rows.to_csv(temporary, index_label="run")
        print(f"wrote {csv}")
    if picture:
        begun = [run for run in runs if run.metadata]
        if not begun:
            raise InputError(f"{picture}: nothing to draw, none of the runs has finished an epoch")
        curves = {run.label: (run.history, run.metadata["best_epoch"]) for run in begun}
        plots.save(plots.compared_runs(curves), picture)
        print(f"wrote {picture}")


def draw_curves(folders: Sequence[Path], picture: Path | None = None) -> None:
    """Draw the learning curves of one training, whose parts were run one after the other."""
    picture = picture or folders[-1] / "learning_curves.png"
    files.require_ending(picture, *plots.ENDINGS)
    parts = [read_history(folder, _CURVES) for folder in folders]
    ends = list(itertools.accumulate(int(part["epoch"].to_numpy().max()) for part in parts))
    before = [0, *ends[:-1]]
    moved = [
        part.assign(epoch=part["epoch"] + begin) for part, begin in zip(parts, before, strict=True)
    ]
    history = pd.concat(moved, ignore_index=True)
    best_epoch = _read_metadata(folders[-1], parts[-1])["best_epoch"] + before[-1]
    plots.save(plots.learning_curves(history, best_epoch, ends[:-1]), picture)
    print(f"{picture}: {len(history)} epochs, restored epoch {best_epoch}")


def read(folder: Path, label: str) -> Run:
    """Read the run in `folder`, finished or not."""
    path = folder / "config.json"
    if not path.is_file():
        rule = "scripts/train.py writes config.json, run.json and history.csv"
        raise InputError(f"{folder}: no run there: {rule}")
    config = flatten_dict(files.read_json(path), sep=".")
    for key, kind in _CONFIG.items():
        if not isinstance(config.get(key), kind):
            rule = f"{key} must be of type {kind.__name__}"
            raise InputError(f"{path}: {rule}, received {config.get(key)!r}")
    if not (folder / RUN).exists():  # written at the end of the first epoch
        return Run(label, config, {}, pd.DataFrame(columns=list(_COMPARED)))
    history = read_history(folder, _COMPARED)
    return Run(label, config, _read_metadata(folder, history), history)


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run: outcome, origin, and the config keys that are not the same in all."""
    keys = dict.fromkeys(key for run in runs for key in run.config if key != "epochs")
    differ = [key for key in keys if len({str(run.config.get(key, "")) for run in runs}) > 1]
    rows = [_summary(run) | {key: run.config.get(key, "") for key in differ} for run in runs]
    return pd.DataFrame(rows, index=[run.label for run in runs], dtype=object)


def _summary(run: Run) -> dict[str, Any]:
    """What a run reached and what it was made from; "" for what it has not got yet."""
    done, epochs = len(run.history), run.config["epochs"]
    best_epoch = run.metadata.get("best_epoch", "")
    best = run.history[run.history["epoch"] == best_epoch]
    minutes = round(run.history["seconds"].sum() / 60)
    ended = "stopped early" if run.metadata.get("stopped") else "unfinished"
    return {
        **{key: run.config[key] for key in ("name", "protocol", "seed")},
        "state": "finished" if done >= epochs else ended,
        "epochs done": f"{done} of {epochs}",
        "best epoch": best_epoch,
        "hold-out accuracy": "".join(f"{value:.4f}" for value in best["holdout_accuracy"]),
        "hold-out loss": "".join(f"{value:.4f}" for value in best["holdout_loss"]),
        "training time": f"{minutes // 60} h {minutes % 60:02} min",
        "git revision": run.metadata.get("git_revision", ""),
        "data digest": str(run.metadata.get("data_digest", ""))[:12],
    }


def _read_metadata(folder: Path, history: pd.DataFrame) -> dict[str, Any]:
    """Read run.json, whose `best_epoch` must be an epoch of the log."""
    path = folder / RUN
    if not path.is_file():
        raise InputError(f"{path}: missing; scripts/train.py writes it beside history.csv")
    metadata = files.read_json(path)
    best_epoch = metadata.get("best_epoch")
    if not isinstance(best_epoch, int) or best_epoch not in history["epoch"].tolist():
        rule = "best_epoch must be one of the log's epochs"
        raise InputError(f"{path}: {rule}, received {best_epoch!r}")
    return metadata

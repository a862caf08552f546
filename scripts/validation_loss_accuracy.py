"""Redraw the learning curves (loss and accuracy on training and hold-out data, by epoch) from a
training log.
"""

import argparse
import itertools
import sys
from pathlib import Path

import pandas as pd

from fer_jax import cli, files
from fer_jax.errors import InputError

EPILOG = """examples:
  python scripts/validation_loss_accuracy.py
  python scripts/validation_loss_accuracy.py --run runs/vgg
  python scripts/validation_loss_accuracy.py --run runs/first runs/second --out curves.png

Several runs are parts of one training, each begun (init_from) with the weights of the one before. A run's folder holds
history.csv (one row per epoch) and run.json (with best_epoch), as scripts/train.py writes them.
"""
COLUMNS = ["epoch", "train_loss", "train_accuracy", "holdout_loss", "holdout_accuracy"]
ROBUST = "holdout_robust_accuracy"  # of adversarial training


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    shipped = Path("results/model")
    told = f"folders of the logs, in order (default: {shipped})"
    parser.add_argument("--run", type=Path, nargs="+", default=[shipped], metavar="DIR", help=told)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: learning_curves.png in the last folder"
    )
    args = parser.parse_args()
    parts = [read_history(folder / "history.csv") for folder in args.run]
    last = args.run[-1]
    history, restarts = joined(parts)
    best_epoch = read_best_epoch(last / "run.json", parts[-1]) + (restarts[-1] if restarts else 0)
    from fer_jax import plots

    out = args.out or last / "learning_curves.png"
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(
            f"{out}: the picture must be a .png, .pdf or .svg, received {out.suffix!r}"
        )
    with files.replacing(out) as temporary:
        plots.learning_curves(history, best_epoch, restarts).savefig(temporary)
    print(f"{out}: {len(history)} epochs, restored epoch {best_epoch}")


def read_history(path: Path) -> pd.DataFrame:
    """The log's `COLUMNS`, and `ROBUST` if it is there, float, one row per epoch."""
    if not path.is_file():
        raise InputError(
            f"{path}: no training log there; scripts/train.py writes one to its --workdir"
        )
    try:
        history = pd.read_csv(path)
        columns = COLUMNS + [ROBUST] * (ROBUST in history)
        history = history.loc[:, columns].astype(
            {"epoch": int, **dict.fromkeys(columns[1:], float)}
        )
    # pandas' parser errors are ValueErrors, a missing column is a KeyError
    except (ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: a training log needs numbers in columns {', '.join(COLUMNS)}: {reason}"
        ) from None
    if history.empty:
        raise InputError(f"{path}: a training log needs at least one epoch, received none")
    return history


def joined(parts: list[pd.DataFrame]) -> tuple[pd.DataFrame, list[int]]:
    """The parts as one log whose epochs are counted through, and the epochs after which a new part
    began.
    """
    restarts = list(
        itertools.accumulate(part["epoch"].to_numpy(int).max().item() for part in parts[:-1])
    )
    moved = [
        part.assign(epoch=part["epoch"] + before)
        for part, before in zip(parts, [0, *restarts], strict=True)
    ]
    return pd.concat(moved, ignore_index=True), restarts


def read_best_epoch(path: Path, history: pd.DataFrame) -> int:
    """`best_epoch` of run.json, an epoch of the log."""
    if not path.is_file():
        raise InputError(f"{path}: missing; scripts/train.py writes it beside history.csv")
    best_epoch = files.read_json(path).get("best_epoch")
    if not isinstance(best_epoch, int) or best_epoch not in history["epoch"].tolist():
        raise InputError(
            f"{path}: best_epoch must be one of the log's epochs, received {best_epoch!r}"
        )
    return best_epoch


if __name__ == "__main__":
    sys.exit(cli.run(main))

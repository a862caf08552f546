"""Redraw the learning curves (loss and accuracy on training and hold-out data, by epoch) from a training log."""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from fer_jax import cli, files
from fer_jax.errors import InputError

EPILOG = """examples:
  python scripts/validation_loss_accuracy.py
  python scripts/validation_loss_accuracy.py --run runs/vgg --out runs/vgg/learning_curves.png

A run's folder holds history.csv (one row per epoch) and run.json (with best_epoch), as scripts/train.py writes them.
"""
COLUMNS = ["epoch", "train_loss", "train_accuracy", "holdout_loss", "holdout_accuracy"]
ROBUST = "holdout_robust_accuracy"  # of adversarial training


def main() -> None:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    shipped = Path("results/model")
    parser.add_argument("--run", type=Path, default=shipped, metavar="DIR", help=f"folder of the log (default: {shipped})")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: learning_curves.png in that folder")
    args = parser.parse_args()
    history = read_history(args.run / "history.csv")
    best_epoch = read_best_epoch(args.run / "run.json", history)
    from fer_jax import plots

    out = args.out or args.run / "learning_curves.png"
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"{out}: the picture must be a .png, .pdf or .svg, received {out.suffix!r}")
    with files.replacing(out) as temporary:
        plots.learning_curves(history, best_epoch).savefig(temporary)
    print(f"{out}: {len(history)} epochs, restored epoch {best_epoch}")


def read_history(path: Path) -> pd.DataFrame:
    """The log's `COLUMNS`, and `ROBUST` if it is there, float, one row per epoch."""
    if not path.is_file():
        raise InputError(f"{path}: no training log there; scripts/train.py writes one to its --workdir")
    try:
        history = pd.read_csv(path)
        columns = COLUMNS + [ROBUST] * (ROBUST in history)
        history = history.loc[:, columns].astype({"epoch": int, **dict.fromkeys(columns[1:], float)})
    except (ValueError, KeyError) as error:  # pandas' parser errors are ValueErrors, a missing column is a KeyError
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: a training log needs numbers in columns {', '.join(COLUMNS)}: {reason}") from None
    if history.empty:
        raise InputError(f"{path}: a training log needs at least one epoch, received none")
    return history


def read_best_epoch(path: Path, history: pd.DataFrame) -> int:
    """`best_epoch` of run.json, an epoch of the log."""
    if not path.is_file():
        raise InputError(f"{path}: missing; scripts/train.py writes it beside history.csv")
    try:
        best_epoch = json.loads(path.read_text())["best_epoch"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: must be JSON with a best_epoch: {error}") from None
    if best_epoch not in history["epoch"].tolist():
        raise InputError(f"{path}: best_epoch must be one of the log's epochs, received {best_epoch!r}")
    return best_epoch


if __name__ == "__main__":
    sys.exit(cli.run(main))

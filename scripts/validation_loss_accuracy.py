"""Redraw learning curves from a training log: loss and accuracy by epoch."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EXAMPLE = """examples:
  python scripts/validation_loss_accuracy.py
  python scripts/validation_loss_accuracy.py --run runs/vgg
  python scripts/validation_loss_accuracy.py --run runs/first runs/second --out curves.png

Several runs are parts of one training, each begun (init_from) with the weights of the one before. A
run's folder holds history.csv and run.json, as scripts/train.py writes them."""


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EXAMPLE)
    shipped = files.root() / "results" / "model"
    text = f"folders of the logs, in order (default: {shipped})"
    parser.add_argument("--run", type=Path, nargs="+", default=[shipped], metavar="DIR", help=text)
    text = "default: learning_curves.png in the last folder"
    parser.add_argument("--out", type=Path, metavar="FILE", help=text)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from fer_jax.training.compare import draw_curves

    draw_curves(args.run, args.out)


if __name__ == "__main__":
    sys.exit(cli.run(main))

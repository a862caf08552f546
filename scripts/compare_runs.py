"""Compare training runs: what they reached, where their configs differ, and their curves."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli

EXAMPLE = """examples:
  python scripts/compare_runs.py runs/vgg runs/vgg2
  python scripts/compare_runs.py runs/vgg*/ --out runs/compared.png --csv runs/compared.csv

A run's folder is what scripts/train.py writes: config.json, and from the first epoch on run.json
and history.csv."""


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a run")
    text = "draw the hold-out curves (.png, .pdf or .svg)"
    add("--out", type=Path, metavar="FILE", help=text)
    add("--csv", type=Path, metavar="FILE", help="write the table, one row per run")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from fer_jax.training.compare import compare

    compare(args.runs, args.out, args.csv)


if __name__ == "__main__":
    sys.exit(cli.run(main))

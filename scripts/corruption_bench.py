"""Accuracy under what cameras do to faces: noise, blur, bad light, ... in five severities."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EPILOG = """examples:
  python scripts/corruption_bench.py
  python scripts/corruption_bench.py --n 500 --model results/model/my_own_model.pkl \\
    results/robust/robust_model.pkl

The n test images are a fixed random sample of the rows that each model's protocol reports on:
models of one protocol see the same images, corrupted alike. Severity 0 is the clean picture; the
mean corruption accuracy is the plain mean over corruptions and severities 1 to 5. It writes
OUT/corruptions.csv, corruptions.json and corruptions.png.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.robustness import bench

    bench.corruption_bench(args)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option = parser.add_argument
    option("--model", type=Path, nargs="+", metavar="FILE", help="default: the shipped model")
    option("--n", type=int, default=1000, help="how many test images (default: 1000)")
    option("--seed", type=int, default=0, help="of the corruptions (default: 0)")
    cli.add_data(parser)
    folder = {"default": files.root() / "runs" / "corruption_bench", "metavar": "FOLDER"}
    option("--out", type=Path, **folder, help="default: runs/corruption_bench")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"--seed must be at least 0, received {args.seed}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

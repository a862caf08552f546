"""Certified accuracy: how often the smoothed network is right, whatever changes within a radius."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli

EPILOG = """examples:
  python scripts/certify.py --model results/robust/smooth.pkl
  python scripts/certify.py --sigma 0.12 --n 1000 --images 100 --pgd 20

The images are a fixed random sample of the rows that the model's protocol reports on. An
abstention counts as an error. --pgd attacks each certified image within its radius: the
certificate says that this cannot succeed. Results are kept in OUT/found.csv after every image: the
same command goes on where it was stopped.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.robustness import bench

    bench.certify(args)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option = parser.add_argument
    cli.add_model(parser)
    option("--sigma", type=float, help="noise, of pixels in [0, 1] (default: as trained, or 0.25)")
    option("--n", type=int, default=10_000, help="copies for the probability (default: 10000)")
    option("--n0", type=int, default=100, help="copies that select the class (default: 100)")
    option("--alpha", type=float, default=0.001, help="of a wrong certificate (default: 0.001)")
    option("--images", type=int, default=500, help="how many test images (default: 500)")
    option("--pgd", type=int, default=0, metavar="STEPS", help="attack each certificate")
    cli.add_data(parser)
    option("--out", type=Path, metavar="FOLDER", help="default: runs/certify/MODEL-SIGMA")
    args = parser.parse_args()
    if args.pgd < 0:
        parser.error(f"--pgd must be at least 0, received {args.pgd}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

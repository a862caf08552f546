"""Certified accuracy: how often the smoothed network is right, whatever changes within a radius."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

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
    from fer_jax.robustness import certify

    certify.run(certify.Request(**vars(args)))


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    option = parser.add_argument
    text = "model file (default: the shipped model)"
    option("--model", type=Path, metavar="FILE", help=text)
    text = "noise, in pixel units of [0, 1] (default: what the model was trained with, else 0.25)"
    option("--sigma", type=float, help=text)
    text = "noisy copies that bound the probability (default: 10000)"
    option("--n", type=int, default=10_000, help=text)
    option("--n0", type=int, default=100, help="noisy copies that select the class (default: 100)")
    text = "probability of a wrong certificate (default: 0.001)"
    option("--alpha", type=float, default=0.001, help=text)
    option("--images", type=int, default=500, help="how many test images (default: 500)")
    text = "attack each certificate (default: 0, not)"
    option("--pgd", type=int, default=0, metavar="STEPS", help=text)
    text = "FER-2013 (default: data)"
    option("--data", type=Path, default=files.root() / "data", metavar="DIR", help=text)
    option("--out", type=Path, metavar="FOLDER", help="default: runs/certify/MODEL-SIGMA")
    args = parser.parse_args()
    if args.pgd < 0:
        parser.error(f"--pgd must be at least 0, received {args.pgd}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""How often a face that the network is sure to be Happy can be made Sad, and how much it changes.

    python benchmarks/hack_rate.py --data data --images 500

Judged after rounding to 8 bits.
"""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EPILOG = """The images are a fixed random sample of the test images that the model's protocol
reports on, that are labelled with the source, and to which the network gives it more than 90 %.
Writes success.csv and success.json, and no image.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.robustness import hack_rate

    hack_rate.run(hack_rate.Request(**vars(args)))


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    option, root = parser.add_argument, files.root()
    option("--images", type=int, default=500, metavar="N", help="at most so many (default: 500)")
    option("--source", default="happy", metavar="EMOTION", help="default: happy")
    option("--target", default="sad", metavar="EMOTION", help="default: sad")
    option("--steps", type=int, default=40, help="default: 40")
    option("--seed", type=int, default=0)
    text = "FER-2013 (default: data)"
    option("--data", type=Path, default=root / "data", metavar="DIR", help=text)
    text = "model file (default: the shipped model)"
    option("--model", type=Path, metavar="FILE", help=text)
    text = "default: results/hack_cnn"
    option("--out", type=Path, default=root / "results/hack_cnn", metavar="FOLDER", help=text)
    args = parser.parse_args()
    if args.source == args.target:
        parser.error(f"--source and --target must differ, both are {args.source}")
    if min(args.images, args.steps) < 1:
        parser.error("--images and --steps must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

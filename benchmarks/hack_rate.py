"""How often a face that is Happy for sure can be made Sad, in 8 bits, and how much it changes."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EPILOG = """example:
  python benchmarks/hack_rate.py --data data --images 500

The images are a fixed random sample of the test images that the model's protocol
reports on, that are labelled with the source, and to which the network gives it more than 90 %.
Writes success.csv and success.json, and no image.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.robustness import bench

    bench.hack_rate(args)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option = parser.add_argument
    option("--images", type=int, default=500, metavar="N", help="at most so many (default: 500)")
    option("--source", default="happy", metavar="EMOTION", help="default: happy")
    option("--target", default="sad", metavar="EMOTION", help="default: sad")
    option("--steps", type=int, default=40, help="default: 40")
    option("--seed", type=int, default=0)
    cli.add_data(parser)
    cli.add_model(parser)
    out = files.root() / "results" / "hack_cnn"
    option("--out", type=Path, default=out, metavar="FOLDER", help="default: results/hack_cnn")
    args = parser.parse_args()
    if args.source == args.target:
        parser.error(f"--source and --target must differ, both are {args.source}")
    if min(args.images, args.steps) < 1:
        parser.error("--images and --steps must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

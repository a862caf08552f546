"""Read FER-2013 from a folder, prepare it for quick starts, and say what is in it."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli

EPILOG = """examples:
  python scripts/prepare_data.py --data data
  python scripts/prepare_data.py --data data --npz fer2013.npz

The npz needs nothing but NumPy to be read: copy it as fer2013.npz into the data folder of another
machine. How to get the data: data/README.md.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.data import inspect, load, npz

    data = load(args.data)
    inspect.describe(data)
    if args.npz:
        npz.save(data, args.npz)
        print(f"wrote {args.npz}")


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    cli.add_data(parser)
    parser.add_argument("--npz", type=Path, help="also write the arrays to this portable file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Read FER-2013 from a folder, prepare it for quick starts, and say what is in it."""

import argparse
import sys
from pathlib import Path

import numpy as np

from fer_jax import cli
from fer_jax.labels import EMOTIONS, NUM_CLASSES

EPILOG = """examples:
  python scripts/prepare_data.py --data data
  python scripts/prepare_data.py --data data --npz fer2013.npz

The npz needs nothing but NumPy to be read: copy it as fer2013.npz into the data folder of another machine.
How to get the data: data/README.md.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax import data
    from fer_jax.data import prepare, protocols

    faces = data.load(args.data)
    print(f"{'':12}" + "".join(f"{name:>10}" for name in (*EMOTIONS, "all")))
    for usage, split in faces.splits.items():
        counts = np.bincount(split.labels, minlength=NUM_CLASSES)
        print(f"{usage:12}" + "".join(f"{n:>10,}" for n in (*counts, counts.sum())))
    groups = protocols.pixel_groups(
        np.concatenate([split.images for split in faces.splits.values()])
    )
    seen = int(data.seen_in_training(faces.test, faces.train).sum())
    print(f"surplus copies of an image: {len(groups) - groups.max(initial=-1) - 1:,}")
    print(f"test rows whose pixels also occur in Training: {seen:,} of {len(faces.test.labels):,}")
    print(f"digest: {faces.digest}")
    if args.npz:
        prepare.save_npz(faces, args.npz)
        print(f"wrote {args.npz}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder with FER-2013 (default: data)"
    )
    parser.add_argument("--npz", type=Path, help="also write the arrays to this portable file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Get the challenge's archive (FER-2013) into the data folder; the same command resumes a download
that was cut.
"""

import argparse
import sys
from pathlib import Path

from fer_jax import cli

EPILOG = """examples:
  python scripts/download_data.py
  python scripts/download_data.py --from ~/Downloads/fer2013.tar.gz --data data

The archive is read whole and its class counts are compared with the published ones before it is put into place.
The data set is for research only. Other ways to get it: data/README.md.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.data import download, sources

    path = download.fetch(args.origin or download.URL, args.data)
    rows = " + ".join(f"{n:,} {usage}" for usage, n in sources.PUBLISHED.items())
    print(f"{path}: {rows} rows, each class as published")
    if (first := sources.find(args.data).files[0]) != path:
        print(f"note: {first} is there too, and is read instead", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="FILE|URL",
        help="the zip or fer2013.tar.gz: a file, or a file://, http:// or https:// URL (default: the course's copy)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="where it goes (default: data)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Get the challenge's archive (FER-2013) into the data folder; run again, it resumes a download."""

import argparse
import sys

from fer_jax import cli

EPILOG = """examples:
  python scripts/download_data.py
  python scripts/download_data.py --from ~/Downloads/fer2013.tar.gz --data data

The archive is read whole and its class counts are compared with the published ones before it is put
into place. The data set is for research only. Other ways to get it: data/README.md.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.data import download

    download.main(args.origin or download.URL, args.data)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    cli.add_data(parser, "where it goes")
    text = "the zip or fer2013.tar.gz: a file or a URL (default: the course's copy)"
    parser.add_argument("--from", dest="origin", metavar="FILE|URL", help=text)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

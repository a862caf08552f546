"""Say what is wrong with the data: counts on stdout, every row in a table, examples as pictures."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EPILOG = """examples:
  python scripts/inspect_data.py --data data
  python scripts/inspect_data.py --data data --out somewhere/else

Writes inspection.csv (a line for each finding and row), inspection.json (the counts) and NAME.png
(up to 60 examples of each finding). `row` counts from 1 within its split, as in train.csv;
`file_row` is the row of fer2013.csv and icml_face_data.csv. With FER+'s fer2013new.csv in the data
folder, rows that are not a face are found, too. The pictures show FER-2013 images: keep them out of
version control, as the folder data/ is.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax import plots
    from fer_jax.data import inspect

    def draw(path, images, titles, title):
        plots.save(plots.contact_sheet(images, titles, title), path)

    inspect.main(args.data, args.out, draw)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    cli.add_data(parser)
    out = files.root() / "data" / "inspection"
    text = f"where the results go (default: {out})"
    parser.add_argument("--out", type=Path, default=out, help=text)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

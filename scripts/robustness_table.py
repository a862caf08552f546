"""The robustness table: every network given, on the same test images, under the same attacks."""

import argparse
import re
import sys
from pathlib import Path

from fer_jax import cli, files

EPILOG = """example:
  python scripts/robustness_table.py --models standard=results/model/my_own_model.pkl \\
    fgsm_rs=results/robust/fgsm_rs.pkl

Takes hours; results are kept in WORK/NAME-HASH and never mixed between models: the same command
goes on where it was stopped. Writes OUT/table.csv, table.md, masking.json and robustness.png.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.robustness import table

    table.run(args)


def parse_model(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    # "constant" is the name of the table's last row
    if not (separator and path and re.fullmatch(r"[\w.-]+", name)) or name == "constant":
        rule = "must be NAME=FILE, NAME of letters, digits, -, _ and ., and not constant"
        raise argparse.ArgumentTypeError(f"{rule}, received {text!r}")
    return name, Path(path)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option, root = parser.add_argument, files.root()
    text = "networks by name (default: the shipped one)"
    option("--models", type=parse_model, nargs="+", default=[], metavar="NAME=FILE", help=text)
    option("--n", type=int, default=1000, help="test images (default: 1000)")
    option("--queries", type=int, default=5000, help="of AutoAttack's Square (default: 5000)")
    option("--certify", type=int, default=500, help="test images to certify (default: 500)")
    option("--copies", type=int, default=10_000, help="noisy, of a certificate (default: 10000)")
    text = "measure nothing: tell what is known of nine tenths of the images or more"
    option("--so-far", action="store_true", help=text)
    cli.add_data(parser)
    work = {"default": root / "runs" / "robustness_table", "metavar": "FOLDER"}
    option("--work", type=Path, **work, help="default: runs/robustness_table")
    out = root / "results" / "robustness"
    option("--out", type=Path, default=out, metavar="FOLDER", help="default: results/robustness")
    args = parser.parse_args()
    if min(args.n, args.queries, args.certify, args.copies) < 1:
        parser.error("--n, --queries, --certify and --copies must be at least 1")
    if len(dict(args.models)) < len(args.models):
        parser.error("--models must have different names")
    args.models = dict(args.models)
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

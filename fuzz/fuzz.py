"""Feed damaged and hostile files to every reader of strangers' files.

Each must be accepted, or refused in one line, soon and cheaply. A fault is any exception but
InputError, a message of more than one line, more than 10 seconds of processor time, more than 1 GiB
of memory beyond what the file's own size explains, a dead process, or code from the file executed.
"""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EPILOG = """examples:
  python fuzz/fuzz.py --inputs 20000
  python fuzz/fuzz.py --inputs 200000 --seed 7 --targets zip,model
  python fuzz/fuzz.py --inputs 100000 --engine atheris --targets model

Input number N of a seed is always the same. Inputs with a fault are kept under --out, one folder
each. Exit code 1 if there are any. The engine atheris needs its package: pip install atheris.
"""


def main() -> int:
    args = parse_arguments()
    import campaign

    return campaign.run(args.targets, args.engine, args.inputs, args.seed, args.out)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    add = parser.add_argument
    text = "over all targets (default: 20000)"
    add("--inputs", type=int, default=20_000, metavar="N", help=text)
    add("--seed", type=int, default=0, help="of the inputs (default: 0)")
    add("--targets", default="all", help="names of readers, as csv,zip (default: all)")
    add("--engine", choices=("mutate", "atheris"), default="mutate", help="default: mutate")
    out = files.root() / "runs" / "fuzz"
    text = f"for inputs with a fault (default: {out})"
    add("--out", type=Path, default=out, metavar="DIR", help=text)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

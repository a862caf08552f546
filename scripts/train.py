"""Train a model on FER-2013. Ctrl-C or SIGTERM end it; the same command with --resume goes on."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

EXAMPLE = """examples:
  python scripts/train.py --config experiments/vgg.py --workdir runs/vgg
  python scripts/train.py --config experiments/vgg.py --workdir runs/vgg --resume
  python scripts/train.py --config experiments/smoke.py --set optimizer.learning_rate=0.05"""


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EXAMPLE)
    add = parser.add_argument
    text = "a Python file that defines `config = Config(...)`"
    add("--config", type=Path, required=True, metavar="FILE", help=text)
    data = files.root() / "data"
    add("--data", type=Path, default=data, help=f"folder with FER-2013 (default: {data})")
    text = "more training pictures, as happy/*.png ..."
    add("--extra", type=Path, nargs="+", default=[], metavar="FOLDER", help=text)
    text = "folder for logs, checkpoints and the model (default: runs/NAME)"
    add("--workdir", type=Path, help=text)
    text = "go on from the newest checkpoint in the workdir, if there is one"
    add("--resume", action="store_true", help=text)
    text = "override a value of the config"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    text = "start each with the same arguments but for --process"
    add = parser.add_argument_group("several processes", text).add_argument
    text = "where process 0 listens to the others"
    add("--coordinator", default="", metavar="HOST:PORT", help=text)
    add("--processes", type=int, default=1, metavar="N", help="how many there are")
    add("--process", type=int, default=0, metavar="I", help="which one this is, from 0")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from fer_jax.training.loop import train

    train(args)


if __name__ == "__main__":
    sys.exit(cli.run(main, training=True))

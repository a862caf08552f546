"""Train a model on FER-2013."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, runtime

runtime.configure()

EXAMPLE = """example:
  python scripts/train.py --config experiments/vgg.py --workdir runs/vgg
  python scripts/train.py --config experiments/vgg.py --workdir runs/vgg --resume
  python scripts/train.py --config experiments/smoke.py --set optimizer.learning_rate=0.05"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="a Python file that defines `config = Config(...)`",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder with FER-2013 (default: data)"
    )
    parser.add_argument(
        "--extra",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="more training pictures, as happy/*.png ...",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        help="folder for logs, checkpoints and the model (default: runs/NAME)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in the workdir"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the config",
    )
    several = parser.add_argument_group(
        "several processes", "start each with the same arguments but for --process"
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where process 0 listens to the others"
    )
    several.add_argument("--processes", type=int, default=1, metavar="N", help="how many there are")
    several.add_argument(
        "--process", type=int, default=0, metavar="I", help="which one this is, from 0"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    from fer_jax import config as configs
    from fer_jax import data
    from fer_jax.errors import InputError
    from fer_jax.training import loop as train
    from fer_jax.training import parallel

    if args.coordinator:
        parallel.join(args.coordinator, args.processes, args.process)
    elif (args.processes, args.process) != (1, 0):
        raise InputError("--processes and --process need --coordinator HOST:PORT")
    config = configs.load(args.config, args.set)
    drawn = {"seed": config.seed, "holdout": config.holdout, "votes": config.votes}
    splits, digest = data.training_data(args.data, config.protocol, extra=args.extra, **drawn)
    workdir = args.workdir or Path("runs") / config.name
    if leads := args.process == 0:
        print(
            f"{config.name}: {len(splits.train.labels):,} training rows, {len(splits.select.labels):,} to select on"
        )
    result = train.fit(config, splits, workdir, resume=args.resume, digest=str(digest))
    best = result.model.metadata["best"]
    if leads:
        print(
            f"best epoch {best['epoch']}: hold-out accuracy {best['holdout_accuracy']:.4f}; wrote {workdir / 'model.pkl'}"
        )


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Print a model's layers: outputs, parameters and multiply-adds for one 48x48 image."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, runtime

EPILOG = "example:\n  python scripts/describe_model.py --model runs/vgg/model.pkl"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    args = parser.parse_args()
    runtime.configure()
    from fer_jax.models import describe
    from fer_jax.predict import load_model

    print(describe.layer_table(load_model(args.model).architecture))


if __name__ == "__main__":
    sys.exit(cli.run(main))

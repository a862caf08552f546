"""Print a model's layers: outputs, parameters and multiply-adds for one 48x48 image."""

import argparse
import sys

from fer_jax import cli

EXAMPLE = "example:\n  python scripts/describe_model.py --model runs/vgg/model.pkl"


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EXAMPLE)
    cli.add_model(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from fer_jax.models.describe import layer_table
    from fer_jax.predict import load_model

    print(layer_table(load_model(args.model).architecture))


if __name__ == "__main__":
    sys.exit(cli.run(main))

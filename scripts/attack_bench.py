"""Robust accuracy: how often a network is right when an attack may change each image by eps."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, files

STEPS = 50
EPILOG = """examples:
  python scripts/attack_bench.py --attack pgd --eps 2/255 4/255 8/255 --n 1000
  python scripts/attack_bench.py --attack autoattack --norm l2 --eps 0.5 \\
    --model results/model/my_own_model.pkl
  python scripts/attack_bench.py --attack apgd --surrogate another_model.pkl --check-masking

The n test images are a fixed random sample of the rows that the model's protocol reports on. What
was found is kept in OUT/found.csv: the same command goes on where it was stopped. An image broken
at one eps counts as broken at every larger one. fgsm, bim and mifgsm are Linf attacks.
"""


def main() -> None:
    args = parse_arguments()
    from fer_jax.robustness import bench

    bench.attack_bench(args)


def parse_arguments() -> argparse.Namespace:
    from fer_jax.attacks import ATTACKS

    names = [name for name, attack in ATTACKS.items() if attack.bounded and attack.per_image]
    parser = cli.parser(__doc__, EPILOG)
    option = parser.add_argument
    option("--attack", choices=names, default="pgd", help="default: pgd")
    option("--norm", choices=("linf", "l2"), default="linf", help="default: linf")
    text = "largest change of pixels in [0, 1]; fractions too (default: 2/255 4/255 8/255)"
    levels = [2 / 255, 4 / 255, 8 / 255]
    option("--eps", type=cli.parse_eps, nargs="+", default=levels, metavar="EPS", help=text)
    option("--n", type=int, default=1000, help="how many test images (default: 1000)")
    option("--steps", type=int, help=f"of gradient attacks (default: {STEPS}; autoattack 100)")
    option("--restarts", type=int, default=1, help="random starts of pgd and apgd (default: 1)")
    option("--queries", type=int, default=5000, help="of square (default: 5000)")
    option("--surrogate", type=Path, metavar="FILE", help="make the attack on this model instead")
    option("--check-masking", action="store_true", help="also look for signs of masked gradients")
    option("--seed", type=int, default=0)
    cli.add_data(parser)
    cli.add_model(parser)
    option("--out", type=Path, metavar="FOLDER", help="default: runs/attack_bench/ATTACK-NORM")
    args = parser.parse_args()
    attack = ATTACKS[args.attack]
    if args.steps is None:
        args.steps = attack.steps or STEPS
    if args.out is None:
        name = f"{args.attack}-{args.norm}{'-transfer' if args.surrogate else ''}"
        args.out = files.root() / "runs" / "attack_bench" / name
    if args.norm not in attack.norms:
        known = " and ".join(attack.norms)
        parser.error(f"--attack {args.attack} is made for {known}, not for {args.norm}")
    if args.norm == "linf" and max(args.eps) > 1:
        rule = "--eps must be at most 1 for linf, pixels being in [0, 1]"
        parser.error(f"{rule}, received {max(args.eps):g}")
    if min(args.steps, args.restarts, args.queries) < 1:
        parser.error("--steps, --restarts and --queries must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

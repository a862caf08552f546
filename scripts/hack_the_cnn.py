"""Change a face so that nobody sees it and the network says something else: Happy becomes Sad."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, faces

EPILOG = """examples:
  python scripts/hack_the_cnn.py --method pgd
  python scripts/hack_the_cnn.py --method apgd --norm l2 --eps 0.4 --image 5
  python scripts/hack_the_cnn.py --method universal --eps 8/255
  python scripts/hack_the_cnn.py --photo holiday.jpg --out hacked --detector yunet

fgsm, bim, pgd, mifgsm, apgd, square and autoattack stay within --eps; without it the smallest that
works is searched. cw, deepfool, ddn and fmn look for the smallest change, which is then grown until
it survives the rounding to 8 bits. universal is one change for all images: fitted to training
images of the source class, it is added to the chosen test image, and to up to 500 others of which
the network is sure.

With FER-2013 in the data folder the image is a test image (--image ROW), else a face cut from the
clip that comes with the code. --photo changes a photograph at its full size, so that the largest
face in the saved file is seen as the target, whatever it is seen as now. Exit code 1: no change was
found.
"""


def main() -> int:
    args = parse_arguments()
    from fer_jax.robustness import hack_report

    return hack_report.run(args)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option = parser.add_argument
    option("--method", default="pgd", help="see below (default: pgd)")
    option("--source", default="happy", metavar="EMOTION", help="what is seen now (default: happy)")
    option("--target", default="sad", metavar="EMOTION", help="what is to be seen (default: sad)")
    option("--norm", choices=("linf", "l2"), help="default: what the method is made for")
    option("--eps", type=cli.parse_eps, help="pixels in [0, 1] (default: the smallest that works)")
    option("--photo", type=Path, metavar="FILE", help="hack this photograph, at its full size")
    option("--steps", type=int, help="default: 40; autoattack: 100; square: 5000; fgsm makes one")
    option("--restarts", type=int, default=1, help="more random starts (pgd, apgd; default: 1)")
    option("--image", type=int, metavar="ROW", help="of the test set (default: first that fits)")
    option("--seed", type=int, default=0)
    cli.add_data(parser)
    cli.add_model(parser)
    text = "default: results/hack_cnn, or ROW or photo_NAME in it"
    option("--out", type=Path, metavar="FOLDER", help=text)
    faces.add_detector(parser)
    args = parser.parse_args()
    if not 0 <= args.seed < 1 << 32:
        parser.error(f"--seed must lie in 0 to {(1 << 32) - 1}, got {args.seed}")
    if (args.detector_model or args.detector != "auto") and not args.photo:
        parser.error("--detector and --detector-model go with --photo")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Measure a trained model on the FER-2013 test set, or classify pictures with it."""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, faces, files
from fer_jax.errors import InputError

EPILOG = """examples:
  python scripts/predict.py --data data
  python scripts/predict.py --tta --json metrics.json --confusion confusion.png
  python scripts/predict.py --images holiday.jpg portraits/
  python scripts/predict.py --explain explained.png --against results/robust/robust_model.pkl

The test set is all 7,178 rows: PublicTest, then PrivateTest. A model that PublicTest chose
(protocols kaggle and ferplus-*) is reported on PrivateTest alone; one of ferplus-* on the votes in
DIR/fer2013new.csv. --tta averages ten views of each face, at ten times the cost.
With --images, a 48x48 grey picture is taken as a face; in any other picture faces are detected
first, one row each.
--explain draws what the model looks at in the first face of --images (by default the shipped one),
by three methods; --against adds a second model."""


def main() -> int:
    args = parse_arguments()
    if not args.images and not args.explain:
        from fer_jax.predict.measured import report

        pictures = {"confusion": args.confusion, "reliability": args.reliability}
        report(args.data, args.model, args.tta, json=args.json, **pictures)
        return 0
    from fer_jax.predict import Predictor, pictures

    detector = faces.detector(args.detector, args.detector_model)
    if not args.explain:
        return pictures.classify(args.images, Predictor(args.model, args.tta), detector)
    shipped = files.root() / "results" / "preprocessing_test" / "image0.png"
    face = pictures.first_face(args.images or [shipped], detector)
    models = [args.model, args.against] if args.against else [args.model]
    pictures.explain(args.explain, models, face)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option, png = parser.add_argument, {"type": Path, "metavar": "FILE.png"}
    file = {"type": Path, "metavar": "FILE"}
    cli.add_data(parser)
    cli.add_model(parser)
    option("--tta", action="store_true", help="mean over ten views of each face")
    option("--images", type=Path, nargs="+", metavar="PATH", help="classify pictures or folders")
    faces.add_detector(parser)
    option("--json", **file, help="write the figures there")
    option("--confusion", **png, help="draw the confusion matrix there")
    option("--reliability", **png, help="draw confidence against accuracy there")
    option("--explain", **png, help="draw there which pixels of a face decide")
    option("--against", **file, help="with --explain: a second model, for comparison")
    args = parser.parse_args()
    of_test_set = args.json or args.confusion or args.reliability
    if args.images and of_test_set:
        options = "--json, --confusion and --reliability"
        raise InputError(f"{options} describe the test set: they do not go with --images")
    if args.explain and (args.tta or of_test_set):
        options = "--tta, --json, --confusion, --reliability"
        raise InputError(f"--explain is about one view of a face: {options} do not go with it")
    if args.against and not args.explain:
        raise InputError(f"--against {args.against} goes with --explain, which is not given")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

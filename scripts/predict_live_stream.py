"""Say once a second which emotion each face in front of the camera, or in a recording, shows."""

import argparse
import math
import sys
from pathlib import Path

from fer_jax import cli, faces

EPILOG = """\
examples:
  python scripts/predict_live_stream.py        the first camera, else the clip of this code
  python scripts/predict_live_stream.py --display --smooth 0.5
  python scripts/predict_live_stream.py --source interview.mp4 --fast --csv faces.csv --save new.mp4
  python scripts/predict_live_stream.py --hack sad --eps 6/255

A camera's lines carry the clock time, a recording's the position in it. Several faces have a line
each, under the number of its person, which lasts through short absences. Without --fast a recording
plays in real time, and what the machine is too slow for is left out. The window and the video show
every frame; lines and rows keep to --every. Ctrl-C, q or Escape in the window, SIGTERM or the end
of the stream ends; all files are whole then.

With --hack each face is predicted twice: as it is, and with one fixed perturbation of at most --eps
added to its 48x48 pixels, which makes the network see EMOTION. It is fitted at the start, for some
seconds, to the training images in the folder data, else to the faces that come with the code.

The percentage is the model's probability, calibrated on FER-2013's photographs, for the expression
that people would name; it does not tell what a person feels. In the European Union inferring
emotions at work or in education is prohibited, except for medical or safety reasons (Regulation
(EU) 2024/1689, article 5(1)(f)).
"""


def main() -> None:
    arguments = parse_arguments()
    from fer_jax.video import live

    live.run(arguments)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    add = parser.add_argument
    seconds = {"metavar": "SECONDS", "type": cli.parse_period}
    text = "default: the first camera, else the clip that comes with the code"
    add("--source", metavar="INDEX|FILE|URL", type=cli.parse_source, help=text)
    add("--every", **seconds, default=1.0, help="default: 1")
    add("--model", metavar="FILE", help="default: the model that comes with the code")
    faces.add_detector(parser)
    add("--fast", action="store_true", help="read a recording as fast as possible")
    add("--display", action="store_true", help="a window with boxes, names and probabilities")
    add("--save", metavar="FILE", type=Path, help="write what the window shows: .mp4 or .avi")
    add("--csv", metavar="FILE", type=Path, help="write a row per face and look")
    add("--smooth", **seconds, default=0.0, help="average over time, with this time constant")
    text = "from 0 to 1: say `uncertain` below it (default: 0)"
    add("--min-confidence", metavar="P", type=cli.parse_probability, default=0.0, help=text)
    add("--all-faces", action="store_true", help="number the people even while there is only one")
    add("--max-seconds", **seconds, default=math.inf, help="stop after so much video")
    text = "also say what each face shows with a perturbation that is to make it this"
    add("--hack", metavar="EMOTION", type=str.lower, help=text)
    text = "of --hack: the largest change, of pixels in [0, 1] (default: 8/255)"
    add("--eps", type=cli.parse_eps, help=text)
    arguments = parser.parse_args()
    if arguments.eps and not (arguments.hack and arguments.eps <= 1):
        rule = "goes with --hack and must be at most 1: pixels lie in [0, 1]"
        parser.error(f"--eps {rule}, got {arguments.eps:g}")
    return arguments


if __name__ == "__main__":
    sys.exit(cli.run(main))

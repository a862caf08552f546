"""Turn recordings into reports: a table of every face, a picture for each person, a summary and one
HTML page.

The EU AI Act, Art. 5(1)(f), forbids inferring the emotions of people at work and in education,
hiring included.
"""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, faces

EPILOG = """\
example:
  python scripts/analyse_video.py interview.mp4 second.mp4 --every 0.5 --out reports

For each FILE: NAME_faces.csv, NAME_personN.png, NAME_summary.json, NAME_summary.txt and NAME.html.
NAME is the file's stem, with a number where another recording of that stem has a report in the
folder. A file that cannot be read does not stop the others: it is named at the end, and the exit
code is 2.
"""


def main() -> int:
    arguments = parse_arguments()
    from fer_jax.video import report

    return report.analyse_all(arguments)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    add = parser.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="a recording")
    add("--every", metavar="SECONDS", type=cli.parse_period, default=1.0, help="default: 1")
    add("--out", metavar="FOLDER", type=Path, default=Path("reports"), help="default: reports")
    faces.add_detector(parser)
    add("--model", metavar="FILE", help="default: the model that comes with the code")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

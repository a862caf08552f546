"""Turn recordings into reports: a table of every face, a picture for each person, a summary and one
HTML page.

The EU AI Act, Art. 5(1)(f), forbids inferring the emotions of people at work and in education,
hiring included.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from fer_jax import cli, faces, files, runtime
from fer_jax.errors import InputError
from fer_jax.video import stream

EPILOG = """\
example:
  python scripts/analyse_video.py interview.mp4 second.mp4 --every 0.5 --out reports

For each FILE: NAME_faces.csv, NAME_personN.png, NAME_summary.json, NAME_summary.txt and NAME.html. NAME is the file's
stem, with a number where another recording of that stem has a report in the folder. A file that cannot be read does not
stop the others: it is named at the end, and the exit code is 2.
"""


def main() -> int:
    arguments = parse_arguments()
    files.require_folder(arguments.out)
    detector = faces.detector(arguments.detector, arguments.detector_model)
    runtime.configure()
    from fer_jax.predict import Predictor  # brings JAX: only after the arguments have proved good
    from fer_jax.video import report

    predictor = Predictor(arguments.model)
    about = report.describe_model(predictor.model.metadata)
    reader = report.Reader(predictor, predictor.emotions, detector, arguments.every, about)
    names = report.names(arguments.files, arguments.out)

    def analyse(path: Path, name: str, advance: Callable[[float], object]) -> str:
        summary = report.analyse(path, arguments.out, name, reader, advance)
        return (
            f"{printable(path)}: {report.describe(summary)}  {printable(arguments.out / name)}.html"
        )

    return for_each(arguments.files, names, analyse)


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="a recording")
    parser.add_argument(
        "--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help="default: 1"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("reports"), help="default: reports"
    )
    faces.add_detector(parser)
    parser.add_argument(
        "--model", metavar="FILE", help="default: the model that comes with the code"
    )
    return parser.parse_args()


def for_each(
    files: Sequence[Path],
    names: Sequence[str],
    analyse: Callable[[Path, str, Callable[[float], object]], str],
) -> int:
    """Analyse each file, whatever becomes of the others; the exit code."""
    lengths, failures, broken = (
        [length_of(path) for path in files],
        [],
        (ValueError, faces.opencv().error),
    )
    with tqdm(
        total=sum(lengths) or None, unit="s", unit_scale=True, disable=not sys.stderr.isatty()
    ) as bar:
        for number, (path, name) in enumerate(zip(files, names, strict=True), 1):
            bar.set_description(f"{number}/{len(files)} {printable(name)}")
            try:
                said = analyse(path, name, bar.update)
            except InputError as error:
                failures.append(error)
            except OSError as error:
                failures.append(InputError(f"{error.filename or path}: {error.strerror or error}"))
            except broken as error:  # of a file that OpenCV opens but cannot digest
                failures.append(
                    InputError(f"{path}: cannot be analysed: {' '.join(str(error).split())[:200]}")
                )
            else:
                tqdm.write(said)
            # a file without a stated length, or one that failed half-way
            bar.n = sum(lengths[:number])
            bar.refresh()
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def length_of(path: Path) -> float:
    """Seconds of video for the progress bar; 0 where the file does not say, or cannot be read,
    which is told later.
    """
    try:
        with stream.Video(path) as video:
            return video.duration or 0.0
    except InputError:
        return 0.0


def printable(name: Path | str) -> str:
    """A file's name for a terminal: it may hold commands to it, or be no Unicode."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


if __name__ == "__main__":
    sys.exit(cli.run(main))

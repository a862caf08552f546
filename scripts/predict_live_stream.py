"""Say once a second which emotion each face in front of the camera, or in a recording, shows."""

import argparse
import contextlib
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fer_jax import cli, faces, labels, overlay, record, runtime, stream
from fer_jax.errors import InputError

CLIP = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test" / "input_video.mp4"
EPILOG = """\
examples:
  python scripts/predict_live_stream.py                         the first camera, else the clip that comes with the code
  python scripts/predict_live_stream.py --display --smooth 0.5
  python scripts/predict_live_stream.py --source interview.mp4 --fast --csv faces.csv --save annotated.mp4

A camera's lines carry the clock time, a recording's the position in it. Several faces are said one by one, each under
the number of its person, which lasts through short absences. Without --fast a recording plays in real time, and what the
machine is too slow for is left out. The window and the video show every frame; lines and rows keep to --every. Ctrl-C, q
or Escape in the window, or the end of the stream ends; all files are whole then.

The percentage is the model's probability, calibrated on FER-2013's photographs, for the expression that people would
name; it does not tell what a person feels. In the European Union inferring emotions at work or in education is
prohibited, except for medical or safety reasons (Regulation (EU) 2024/1689, article 5(1)(f)).
"""


def main() -> None:
    arguments = parse_arguments()
    check_outputs(arguments)
    with ThreadPoolExecutor(1) as background:  # the camera and the model take a second each to start
        loading = background.submit(load_predictor, arguments.model)
        with open_video(arguments.source) as video:
            detector = faces.detector(arguments.detector, arguments.detector_model)
            predictor = loading.result()
            print("Reading video stream ...\n", flush=True)
            watch(video, predictor, detector, arguments)


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    fallback = "default: the first camera, else the clip that comes with the code"
    parser.add_argument("--source", metavar="INDEX|FILE|URL", type=stream.parse_source, help=fallback)
    parser.add_argument("--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help="default: 1")
    parser.add_argument("--model", metavar="FILE", help="default: the model that comes with the code")
    parser.add_argument("--detector", choices=faces.DETECTORS, default="auto", help="default: YuNet if its file is here")
    parser.add_argument("--detector-model", metavar="FILE", type=Path, help="YuNet's file")
    parser.add_argument("--fast", action="store_true", help="read a recording as fast as possible, not in real time")
    parser.add_argument("--display", action="store_true", help="a window with boxes, names and probabilities")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write what the window shows: .mp4 or .avi")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write a row per face and look")
    text = "average probabilities over time, with this time constant"
    parser.add_argument("--smooth", metavar="SECONDS", type=stream.parse_period, default=0.0, help=text)
    text = "from 0 to 1: say `uncertain` below it (default: 0)"
    parser.add_argument("--min-confidence", metavar="P", type=stream.parse_probability, default=0.0, help=text)
    parser.add_argument("--all-faces", action="store_true", help="number the people even while there is only one")
    parser.add_argument(
        "--max-seconds", metavar="SECONDS", type=stream.parse_period, default=math.inf, help="stop after so much video"
    )
    return parser.parse_args()


def check_outputs(arguments: argparse.Namespace) -> None:
    """Everything that can be known to go wrong later is said before anything is opened."""
    for path in filter(None, (arguments.save, arguments.csv)):
        record.require_writable(path, arguments.source)
    if arguments.save:
        record.require_codec(arguments.save)
    if arguments.save and arguments.csv and arguments.save.resolve() == arguments.csv.resolve():
        raise InputError(f"{arguments.csv}: --save and --csv must be two files")
    if arguments.display:
        overlay.require_screen()


def load_predictor(model: str | None) -> stream.Predict:
    runtime.configure()
    from fer_jax.predict import Predictor  # brings JAX: only here, beside the opening of the camera

    predictor = Predictor(model)
    predictor(np.zeros((1, 48, 48), np.uint8))  # compiles
    return predictor


def open_video(source: int | str | None) -> stream.Video:
    """The source that was asked for; without one the first camera, else the clip."""
    if source is not None:
        return stream.Video(source)
    try:
        return stream.Video(0)
    except InputError:
        print(f"no camera: playing {CLIP}", file=sys.stderr)
        return stream.Video(CLIP)


def watch(video: stream.Video, predictor: stream.Predict, detector: faces.Detector, arguments: argparse.Namespace) -> None:
    """Say, keep and show what is seen until the stream or the user's patience ends."""
    with contextlib.ExitStack() as outputs:
        window = outputs.enter_context(overlay.Window(video.name)) if arguments.display else None
        saved = outputs.enter_context(record.VideoFile(arguments.save, video.rate)) if arguments.save else None
        table = None
        if arguments.csv:
            classes = predictor(np.zeros((1, 48, 48), np.uint8)).shape[1]
            table = outputs.enter_context(record.Table(arguments.csv, labels.names(classes)))
        for event in events(video, predictor, detector, arguments):
            if event.due:
                said = stream.described(event, live=video.live, numbered=arguments.all_faces)
                print(f"Preprocessing ...\n{said}\n", flush=True)
            if table and event.due:
                table.write(event)
            if window or saved:
                status = stream.time_of_day(event.time, live=video.live)
                status += f"  {window.rate():.0f} frames/s" if window else ""
                drawn = overlay.draw(event.frame, event.predictions, numbered=arguments.all_faces, status=status)
                if saved:
                    saved.write(event.time, drawn)
                if window and not window.show(drawn):
                    break


def events(
    video: stream.Video, predictor: stream.Predict, detector: faces.Detector, arguments: argparse.Namespace
) -> Iterator[stream.Event]:
    looks = stream.watch(
        video,
        predictor,
        detector,
        arguments.every,
        real_time=not arguments.fast,
        each_frame=bool(arguments.display or arguments.save),
        smooth=arguments.smooth,
        min_confidence=arguments.min_confidence,
    )
    first = None
    for event in looks:
        first = event.time if first is None else first
        if event.time - first >= arguments.max_seconds:
            return
        yield event


if __name__ == "__main__":
    sys.exit(cli.run(main))

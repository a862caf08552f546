"""Say once a second which emotion the largest face in front of the camera, or in a recording, shows."""

import argparse
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fer_jax import cli, faces, runtime, stream
from fer_jax.errors import InputError

CLIP = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test" / "input_video.mp4"
EPILOG = """\
examples:
  python scripts/predict_live_stream.py                         the first camera, else the clip that comes with the code
  python scripts/predict_live_stream.py --source interview.mp4 --fast

A camera's lines carry the clock time, a recording's the position in it. Ctrl-C ends.
"""


def main() -> None:
    arguments = parse_arguments()
    with ThreadPoolExecutor(1) as background:  # the camera and the model take a second each to start
        loading = background.submit(load_predictor, arguments.model)
        with open_video(arguments.source) as video:
            print("Reading video stream ...\n", flush=True)
            watch(video, loading.result(), arguments)


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    fallback = "default: the first camera, else the clip that comes with the code"
    parser.add_argument("--source", metavar="INDEX|FILE|URL", type=stream.parse_source, help=fallback)
    parser.add_argument("--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help="default: 1")
    parser.add_argument("--model", metavar="FILE", help="default: the model that comes with the code")
    parser.add_argument("--fast", action="store_true", help="read a recording as fast as possible, not in real time")
    parser.add_argument(
        "--max-seconds", metavar="SECONDS", type=stream.parse_period, default=math.inf, help="stop after so much video"
    )
    return parser.parse_args()


def load_predictor(model: str | None) -> stream.Predict:
    import numpy as np

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


def watch(video: stream.Video, predictor: stream.Predict, arguments: argparse.Namespace) -> None:
    events = stream.watch(video, predictor, faces.HaarDetector(), arguments.every, real_time=not arguments.fast)
    first = None
    for event in events:
        first = event.time if first is None else first
        if event.time - first >= arguments.max_seconds:
            break
        shown = "no face"
        if event.prediction is not None:
            shown = f"{event.prediction.emotion.capitalize()} , {event.prediction.probability:.0%}"
        print(f"Preprocessing ...\n{stream.time_of_day(event.time, live=video.live)}s : {shown}\n", flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main))

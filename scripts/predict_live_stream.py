"""Say once a second which emotion each face in front of the camera, or in a recording, shows."""

import argparse
import contextlib
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_jax import cli, faces, labels, runtime
from fer_jax.errors import InputError
from fer_jax.video import overlay, record, stream

if TYPE_CHECKING:
    from fer_jax.predict import Predictor

SHIPPED = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test"
CLIP = SHIPPED / "input_video.mp4"
EPS = 8 / 255
# of a universal perturbation: faces at most, steps, and faces in a step
FITTED, STEPS, TOGETHER = 2000, 40, 32
EPILOG = """\
examples:
  python scripts/predict_live_stream.py                         the first camera, else the clip that comes with the code
  python scripts/predict_live_stream.py --display --smooth 0.5
  python scripts/predict_live_stream.py --source interview.mp4 --fast --csv faces.csv --save annotated.mp4
  python scripts/predict_live_stream.py --hack sad --eps 6/255

A camera's lines carry the clock time, a recording's the position in it. Several faces are said one by one, each under
the number of its person, which lasts through short absences. Without --fast a recording plays in real time, and what the
machine is too slow for is left out. The window and the video show every frame; lines and rows keep to --every. Ctrl-C, q
or Escape in the window, SIGTERM or the end of the stream ends; all files are whole then.

With --hack each face is predicted twice: as it is, and with one fixed perturbation of at most --eps added to its 48x48
pixels, which is fitted at the start, for some seconds, to the training images in the folder data, else to the faces that
come with the code. Who sees the stream would not see it; the network is to see the emotion that was asked for.

The percentage is the model's probability, calibrated on FER-2013's photographs, for the expression that people would
name; it does not tell what a person feels. In the European Union inferring emotions at work or in education is
prohibited, except for medical or safety reasons (Regulation (EU) 2024/1689, article 5(1)(f)).
"""


def main() -> None:
    arguments = parse_arguments()
    check_outputs(arguments)
    # the camera and the model take a second each to start
    with ThreadPoolExecutor(1) as background:
        loading = background.submit(load, arguments)
        with open_video(arguments.source) as video:
            detector = faces.detector(arguments.detector, arguments.detector_model)
            predictor = loading.result()
            print("Reading video stream ...\n", flush=True)
            watch(video, predictor, detector, arguments)


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    fallback = "default: the first camera, else the clip that comes with the code"
    parser.add_argument(
        "--source", metavar="INDEX|FILE|URL", type=stream.parse_source, help=fallback
    )
    parser.add_argument(
        "--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help="default: 1"
    )
    parser.add_argument(
        "--model", metavar="FILE", help="default: the model that comes with the code"
    )
    faces.add_detector(parser)
    parser.add_argument(
        "--fast", action="store_true", help="read a recording as fast as possible, not in real time"
    )
    parser.add_argument(
        "--display", action="store_true", help="a window with boxes, names and probabilities"
    )
    parser.add_argument(
        "--save", metavar="FILE", type=Path, help="write what the window shows: .mp4 or .avi"
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        type=Path,
        help="write a row per face and look; without a face its time",
    )
    text = "average probabilities over time, with this time constant"
    parser.add_argument(
        "--smooth", metavar="SECONDS", type=stream.parse_period, default=0.0, help=text
    )
    text = "from 0 to 1: say `uncertain` below it (default: 0)"
    parser.add_argument(
        "--min-confidence", metavar="P", type=stream.parse_probability, default=0.0, help=text
    )
    parser.add_argument(
        "--all-faces", action="store_true", help="number the people even while there is only one"
    )
    parser.add_argument(
        "--max-seconds",
        metavar="SECONDS",
        type=stream.parse_period,
        default=math.inf,
        help="stop after so much video",
    )
    text = "also say what each face shows with a perturbation that is to make it this"
    parser.add_argument("--hack", metavar="EMOTION", type=str.lower, help=text)
    text = "of --hack: the largest change, of pixels in [0, 1] (default: 8/255)"
    parser.add_argument("--eps", type=cli.parse_eps, help=text)
    arguments = parser.parse_args()
    if arguments.eps and not (arguments.hack and arguments.eps <= 1):
        parser.error(
            f"--eps goes with --hack and must be at most 1: pixels lie in [0, 1], got {arguments.eps:g}"
        )
    return arguments


def check_outputs(arguments: argparse.Namespace) -> None:
    """Everything that can be known to go wrong later is said before anything is opened."""
    for path in filter(None, (arguments.save, arguments.csv)):
        record.require_writable(path, CLIP if arguments.source is None else arguments.source)
    if arguments.save:
        record.require_codec(arguments.save)
    if arguments.save and arguments.csv and arguments.save.resolve() == arguments.csv.resolve():
        raise InputError(f"{arguments.csv}: --save and --csv must be two files")
    if arguments.display:
        overlay.require_screen()


def load(arguments: argparse.Namespace) -> stream.Predict:
    predictor = load_predictor(arguments.model)
    if not arguments.hack:
        return predictor
    return beside(predictor, fit_perturbation(predictor, arguments.hack, arguments.eps or EPS))


def load_predictor(model: str | None) -> "Predictor":
    runtime.configure()
    from fer_jax.predict import Predictor  # brings JAX: only here, beside the opening of the camera

    predictor = Predictor(model)
    predictor(np.zeros((1, 48, 48), np.uint8))  # compiles
    return predictor


def fit_perturbation(predictor: "Predictor", emotion: str, eps: float) -> np.ndarray:
    """One change for all faces, in grey levels of 255, float32 [48, 48], that is to make them show
    an emotion.
    """
    import jax

    from fer_jax import attacks

    if emotion not in predictor.emotions:
        raise InputError(
            f"--hack: unknown emotion {emotion!r}: the network tells {', '.join(predictor.emotions)} apart"
        )
    images, which = faces_to_fit()
    print(
        f"--hack: fitting a perturbation to {len(images):,} {which} ...",
        file=sys.stderr,
        flush=True,
    )
    found = attacks.universal_perturbation(
        jax.random.key(0),
        predictor.logits_fn,
        images[..., None] / np.float32(255),
        np.full(len(images), predictor.emotions.index(emotion)),
        eps=eps,
        step_size=attacks.step_size(eps, STEPS),
        steps=STEPS,
        batch_size=TOGETHER,
        targeted=True,
    )
    return 255 * np.asarray(found)[0, :, :, 0]


def faces_to_fit() -> tuple[np.ndarray, str]:
    """Training images uint8 [N, 48, 48] if there are any, else those that come with the code; and
    which they are.
    """
    from fer_jax import data

    folder = Path("data")
    if not data.any_in(folder):
        return np.stack(
            [faces.read_image(path) for path in sorted(SHIPPED.glob("image*.png"))]
        ), "shipped faces"
    images = data.load(folder).train.images
    return images[np.random.default_rng(0).permutation(len(images))[:FITTED]], "training images"


def beside(predictor: stream.Predict, change: np.ndarray) -> stream.Predict:
    """What is seen in each face as it is and, beside it, with a change in grey levels, rounded:
    float32 [N, 2, C].
    """

    def predict(batch: np.ndarray) -> np.ndarray:
        hacked = np.clip(np.rint(batch + change), 0, 255).astype(np.uint8)
        return predictor(np.concatenate([batch, hacked])).reshape(2, len(batch), -1).swapaxes(0, 1)

    predict(np.zeros((1, 48, 48), np.uint8))  # compiles
    return predict


def open_video(source: int | str | None) -> stream.Video:
    """The source that was asked for; without one the first camera, else the clip."""
    if source is not None:
        return stream.Video(source)
    try:
        return stream.Video(0)
    except InputError as error:
        reason = "no camera" if "there is no" in str(error) else str(error)
        print(f"{reason}: playing {CLIP}", file=sys.stderr)
        return stream.Video(CLIP)


def watch(
    video: stream.Video,
    predictor: stream.Predict,
    detector: faces.Detector,
    arguments: argparse.Namespace,
) -> None:
    """Say, keep and show what is seen until the stream or the user's patience ends."""
    with contextlib.ExitStack() as outputs:
        window = outputs.enter_context(overlay.Window(video.name)) if arguments.display else None
        saved = (
            outputs.enter_context(record.VideoFile(arguments.save, video.rate))
            if arguments.save
            else None
        )
        table = None
        if arguments.csv:
            names = labels.by_count(predictor(np.zeros((1, 48, 48), np.uint8)).shape[-1])
            columns = (*names, *(f"hacked_{name}" for name in names)) if arguments.hack else names
            table = outputs.enter_context(record.Table(arguments.csv, columns))
        for event in events(video, predictor, detector, arguments, window):
            if event.due:
                said = stream.described(event, live=video.live, numbered=arguments.all_faces)
                print(f"Preprocessing ...\n{said}\n", flush=True)
            if table and event.due:
                table.write(in_one_row(event))
            if window or saved:
                status = stream.time_of_day(event.time, live=video.live)
                status += f"  {window.rate():.0f} frames/s" if window else ""
                drawn = overlay.draw(
                    event.frame, event.predictions, numbered=arguments.all_faces, status=status
                )
                if saved:
                    saved.write(event.moment, drawn)
                if window and not window.show(drawn):
                    break


def in_one_row(event: stream.Event) -> stream.Event:
    """The event with the probabilities of each hacked face after those of the face as it is."""
    hacked = [one.hacked.probabilities if one.hacked else [] for one in event.predictions]
    pairs = zip(event.predictions, hacked, strict=True)
    return event._replace(
        predictions=tuple(
            one._replace(probabilities=np.append(one.probabilities, more)) for one, more in pairs
        )
    )


def events(
    video: stream.Video,
    predictor: stream.Predict,
    detector: faces.Detector,
    arguments: argparse.Namespace,
    window: overlay.Window | None,
) -> Iterator[stream.Event]:
    looks = stream.watch(
        video,
        predictor,
        detector,
        arguments.every,
        real_time=not arguments.fast,
        # looks a second apart have no average
        each_frame=bool(arguments.display or arguments.save or arguments.smooth),
        smooth=arguments.smooth,
        min_confidence=arguments.min_confidence,
        idle=window.wait if window else None,
    )
    first = None
    for event in looks:
        first = event.moment if first is None else first
        if event.moment - first >= arguments.max_seconds:
            return
        yield event


if __name__ == "__main__":
    sys.exit(cli.run(main))

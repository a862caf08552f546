"""What the shipped model says of each frame of a recording, counted over spans of frames.

    python benchmarks/clip_emotions.py WolfgangLanger_Pexels.mp4 --spans 40-140 296-471 --detector
    yunet

Every frame is looked at, without smoothing; frames are counted from 0. Of several faces the largest
counts.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from fer_jax import cli, faces, runtime
from fer_jax.video import stream


def main() -> None:
    arguments = parse_arguments()
    runtime.configure()
    from fer_jax.predict import Predictor

    detector, said = faces.detector(arguments.detector, arguments.detector_model), []
    predictor = Predictor(arguments.model)
    with stream.Video(arguments.video) as video:
        looks = stream.watch(video, predictor, detector, every=0, real_time=False)
        for event in tqdm(looks, arguments.video.name, unit="frame", leave=False, disable=None):
            said.append(event.predictions[0].emotion if event.predictions else "no face")
    found = 1 - said.count("no face") / len(said)
    print(f"{arguments.video.name}: {len(said)} frames, a face in {found:.2%} ({detector.name})")
    for first, last in arguments.spans:
        span = said[first : last + 1]
        shares = ", ".join(
            f"{emotion} {count / len(span):.1%}" for emotion, count in Counter(span).most_common()
        )
        print(f"  frames {first} to {last}: {shares}")


def parse_span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"must be FIRST-LAST, received {text!r}")
    return int(first), int(last)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--spans", type=parse_span, nargs="*", default=[], metavar="FIRST-LAST")
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the shipped model")
    faces.add_detector(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

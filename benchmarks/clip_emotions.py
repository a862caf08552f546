"""What the shipped model says of each frame of a recording, counted over spans of frames.

    python benchmarks/clip_emotions.py WolfgangLanger_Pexels.mp4 --spans 40-140 296-471

Every frame is looked at, without smoothing; frames are counted from 0. Of several faces the largest
counts.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from fer_jax import cli, faces
from fer_jax.video.capture import Video
from fer_jax.video.watch import watch


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--spans", type=parse_span, nargs="*", default=[], metavar="FIRST-LAST")
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the shipped model")
    faces.add_detector(parser)
    arguments = parser.parse_args()
    from fer_jax.predict import Predictor  # brings JAX, which `cli.run` has set up by now

    name, predictor = arguments.video.name, Predictor(arguments.model)
    detector = faces.detector(arguments.detector, arguments.detector_model)
    with Video(arguments.video) as video:
        looks = watch(video, predictor, detector, every=0, real_time=False)
        seen = [event.predictions for event in tqdm(looks, name, unit="frame", disable=None)]
    emotions = [people[0].emotion if people else "no face" for people in seen]
    share = 1 - emotions.count("no face") / len(emotions)
    print(f"{name}: {len(emotions)} frames, a face in {share:.2%} ({detector.name})")
    for first, last in arguments.spans:
        span = Counter(emotions[first : last + 1])
        shares = [f"{emotion} {count / span.total():.1%}" for emotion, count in span.most_common()]
        print(f"  frames {first} to {last}: {', '.join(shares)}")


def parse_span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"must be FIRST-LAST, received {text!r}")
    return int(first), int(last)


if __name__ == "__main__":
    sys.exit(cli.run(main))

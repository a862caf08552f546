"""How many faces a detector finds in the frames of videos, and how long a frame takes.

python benchmarks/detectors.py --videos clips --detector yunet
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fer_jax import cli, faces
from fer_jax.errors import InputError
from fer_jax.video import capture

SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


class Measured(NamedTuple):
    """The number of faces in each frame looked at, by the frame's index, and the milliseconds that
    a look took.
    """

    counts: dict[int, int]
    milliseconds: float

    def __str__(self) -> str:
        """As one row below `HEADER`."""
        shares = ", ".join(
            f"{n}: {k / len(self.counts):.1%}"
            for n, k in sorted(Counter(self.counts.values()).items())
        )
        seen = [index for index, count in self.counts.items() if count]
        span = f"{seen[0]}-{seen[-1]}" if seen else "none"
        return f"{len(self.counts):5}  {self.milliseconds:7.1f}  {span:>10}  {shares}"


HEADER = "looks  ms/look  with faces  share of looks by faces found"


def main() -> None:
    arguments = parse_arguments()
    detector = faces.detector(arguments.detector, arguments.detector_model)
    paths = sorted(path for path in arguments.videos.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(
            f"{arguments.videos}: must be a folder with videos ({', '.join(sorted(SUFFIXES))}), it has none"
        )
    width = max(len(path.name) for path in paths)
    print(f"{detector.name:{width}}  {HEADER}")
    for path in paths:
        print(f"{path.name:{width}}  {measure(path, detector, arguments.step)}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--step", metavar="K", type=int, default=1, help="look at every K-th frame (default: 1)"
    )
    faces.add_detector(parser)
    return parser.parse_args()


def measure(path: Path, detector: faces.Detector, step: int) -> Measured:
    """Look at every `step`-th frame of the video at `path`."""
    counts, seconds = {}, 0.0
    with capture.Video(path) as video:
        for index, (_, frame) in enumerate(
            tqdm(video.frames(), path.name, unit="frame", leave=False, disable=None)
        ):
            if index % step == 0:
                began = time.perf_counter()
                counts[index] = len(detector(frame))
                seconds += time.perf_counter() - began
    return Measured(counts, 1e3 * seconds / max(1, len(counts)))


if __name__ == "__main__":
    sys.exit(cli.run(main))

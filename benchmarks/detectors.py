"""How many faces a detector finds in the frames of videos, and how long a frame takes.

python benchmarks/detectors.py --videos clips --detector yunet
"""

import sys
import time
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from fer_jax import cli, faces
from fer_jax.errors import InputError
from fer_jax.video import capture

SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
HEADER = "looks  ms/look  with faces  share of looks by faces found"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--videos", metavar="DIR", type=Path, required=True)
    parser.add_argument("--step", metavar="K", type=int, default=1, help="every K-th frame")
    faces.add_detector(parser)
    arguments = parser.parse_args()
    detector = faces.detector(arguments.detector, arguments.detector_model)
    paths = sorted(path for path in arguments.videos.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        rule = f"must be a folder with videos ({', '.join(sorted(SUFFIXES))}), it has none"
        raise InputError(f"{arguments.videos}: {rule}")
    width = max(len(path.name) for path in paths)
    print(f"{detector.name:{width}}  {HEADER}")
    for path in paths:
        row = described(*measure(path, detector, arguments.step))
        print(f"{path.name:{width}}  {row}", flush=True)


def described(counts: dict[int, int], milliseconds: float) -> str:
    """Return one row below `HEADER`."""
    looks, numbers = len(counts), sorted(Counter(counts.values()).items())
    shares = ", ".join(f"{number}: {times / looks:.1%}" for number, times in numbers)
    seen = [index for index, count in counts.items() if count]
    span = f"{seen[0]}-{seen[-1]}" if seen else "none"
    return f"{looks:5}  {milliseconds:7.1f}  {span:>10}  {shares}"


def measure(path: Path, detector: faces.Detector, step: int) -> tuple[dict[int, int], float]:
    """Return the faces in every `step`-th frame of a video by its index, and a look's mean time."""
    counts, seconds = {}, 0.0
    with capture.Video(path) as video:
        frames = tqdm(video.frames(), path.name, unit="frame", leave=False, disable=None)
        for index, (_, frame) in enumerate(frames):
            if index % step == 0:
                began = time.perf_counter()
                counts[index] = len(detector(frame))
                seconds += time.perf_counter() - began
    return counts, 1e3 * seconds / max(1, len(counts))


if __name__ == "__main__":
    sys.exit(cli.run(main))

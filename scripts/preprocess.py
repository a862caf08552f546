"""Cut the largest face out of a video once a second, as the network wants it: 48x48, grey, centred."""

import argparse
import contextlib
import re
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_jax import cli, faces, stream
from fer_jax.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test"
EPILOG = """\
example:
  python scripts/preprocess.py --source interview.mp4 --out results/interview

imageN.png is the face of sample N; a sample without a face has no image. The faces of an earlier run are replaced,
everything else in the folder stays. A camera is read until Ctrl-C.
"""


def main() -> None:
    arguments = parse_arguments()
    earlier = earlier_faces(arguments.out)
    with stream.Video(arguments.source) as video:
        cut, samples = cut_faces(video, arguments.every)
    for name, face in cut.items():
        faces.write_face(arguments.out / name, face)
    for path in earlier:
        if path.name not in cut:
            path.unlink()
    print(f"{video.name}: {samples} samples, {len(cut)} faces in {arguments.out}, {samples - len(cut)} without a face")


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    clip = FOLDER / "input_video.mp4"
    text = "default: the clip that comes with the code"
    parser.add_argument("--source", metavar="INDEX|FILE|URL", type=stream.parse_source, default=str(clip), help=text)
    parser.add_argument("--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help="default: 1")
    text = "default: results/preprocessing_test"
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=FOLDER, help=text)
    return parser.parse_args()


def earlier_faces(folder: Path) -> list[Path]:
    """The images of an earlier run.

    Raises:
        InputError: an imageN.png that no run of this script wrote; it would be lost.
    """
    paths = [path for path in folder.glob("image*.png") if re.fullmatch(r"image\d+\.png", path.name)]
    for path in paths:
        if not faces.is_face_file(path):
            raise InputError(f"{path}: is no 48x48 grey face of an earlier run and would be replaced: choose another --out")
    return paths


def cut_faces(video: stream.Video, every: float) -> tuple[dict[str, np.ndarray], int]:
    """The faces by file name, and the number of samples; nothing is written until the whole video has been read."""
    detector, cut, samples = faces.HaarDetector(), {}, 0
    total = None if video.duration is None else int(video.duration / every) + 1
    frames = tqdm(video.frames(every), "cutting faces", total, unit="sample", disable=not sys.stderr.isatty())
    with contextlib.suppress(KeyboardInterrupt) if video.live else contextlib.nullcontext():
        for _, frame in frames:
            if box := faces.largest(detector(frame)):
                cut[f"image{samples}.png"] = faces.crop(frame, box)
            samples += 1
    return cut, samples


if __name__ == "__main__":
    sys.exit(cli.run(main))

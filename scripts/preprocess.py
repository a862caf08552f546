"""Cut the largest face out of a video once a second, as the network wants it: 48x48, grey, centred."""

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from fer_jax import cli, faces, files, pictures, stream
from fer_jax.errors import InputError

FOLDER = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test"
EPILOG = """\
examples:
  python scripts/preprocess.py --source interview.mp4 --out results/interview
  python scripts/preprocess.py --source portraits/ --out results/portraits --detector yunet

imageN.png is the face of sample N; a sample without a face has no image. Of a folder, sample N is the picture N, sorted
by name. The faces of an earlier run are replaced, everything else in the folder stays. A camera is read until Ctrl-C.
"""


class Cut(NamedTuple):
    """The faces by file name, of how many samples, and the source as the user knows it."""

    faces: dict[str, np.ndarray]
    samples: int
    source: str


def main() -> None:
    arguments = parse_arguments()
    files.require_folder(arguments.out)  # now, not after an hour of camera
    earlier = earlier_faces(arguments.out)
    detector = faces.detector(arguments.detector, arguments.detector_model)
    if isinstance(arguments.source, str) and (folder := Path(arguments.source)).is_dir():
        cut = cut_pictures(folder, arguments.out, detector)
    else:
        cut = cut_video(arguments.source, arguments.every, detector)
    write(cut, arguments.out, earlier)
    found = f"{cut.samples} samples, {len(cut.faces)} faces in {arguments.out}"
    print(f"{cut.source}: {found}, {cut.samples - len(cut.faces)} without a face ({detector.name})")


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    sources = {"metavar": "INDEX|FILE|URL|FOLDER", "type": stream.parse_source}
    text = "camera, video, or folder of pictures; default: the clip that comes with the code"
    parser.add_argument("--source", **sources, default=str(FOLDER / "input_video.mp4"), help=text)
    text = "period of a video's samples; default: 1"
    parser.add_argument("--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help=text)
    text = "default: results/preprocessing_test"
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=FOLDER, help=text)
    faces.add_detector(parser)
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


def cut_video(source: int | str, every: float, detector: faces.Detector) -> Cut:
    with stream.Video(source) as video:
        total = None if video.duration is None else int(video.duration / every) + 1
        frames = (frame for _, frame in video.frames(every))
        return cut_faces(frames, total, detector, video.name, endless=video.live)


def cut_pictures(folder: Path, out: Path, detector: faces.Detector) -> Cut:
    paths = pictures.in_folder(folder)
    if folder.resolve() == out.resolve():
        raise InputError(f"{out}: the pictures and the faces must lie in two folders: choose another --out")
    return cut_faces(map(faces.read_image, paths), len(paths), detector, str(folder))


def cut_faces(
    frames: Iterable[faces.Frame], total: int | None, detector: faces.Detector, source: str, *, endless: bool = False
) -> Cut:
    """Cut the largest face of each frame. Nothing is written yet: a source may fail at its end."""
    cut, samples = {}, 0
    shown = tqdm(frames, "cutting faces", total, unit="sample", disable=not sys.stderr.isatty())
    with contextlib.suppress(KeyboardInterrupt) if endless else contextlib.nullcontext():
        for frame in shown:
            if box := faces.largest(detector(frame)):
                cut[f"image{samples}.png"] = faces.crop(frame, box)
            samples += 1
    return Cut(cut, samples, source)


def write(cut: Cut, out: Path, earlier: list[Path]) -> None:
    """Put the faces in the place of the earlier ones, once all of them are on the disk."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".faces-", dir=out) as work:
        for name, face in cut.faces.items():
            faces.write_face(Path(work) / name, face)
        for name in cut.faces:
            (Path(work) / name).replace(out / name)
    for path in earlier:
        if path.name not in cut.faces:
            path.unlink()


if __name__ == "__main__":
    sys.exit(cli.run(main))

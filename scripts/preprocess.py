"""Cut the largest face out of a video once a second, as the network wants it: 48x48, grey, centred."""

import argparse
import contextlib
import re
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from fer_jax import cli, faces, files
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.video import stream

FOLDER = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test"
EPILOG = """\
examples:
  python scripts/preprocess.py --source interview.mp4 --out results/interview
  python scripts/preprocess.py --source portraits/ --out results/portraits --detector yunet

imageN.png is the face of sample N; a sample without a face has no image. Of a folder, sample N is the picture N, sorted
by name. A camera is read until Ctrl-C. Faces are kept in a hidden folder .faces-... until the last one is cut; a run that
is killed leaves them there.

The faces of an earlier run are replaced: the imageN.png that bear this script's mark (a PNG text chunk), and those that
come with the code. Another imageN.png in the folder is an error, all other files stay.
"""
_TEXT = b"tEXtSoftware\0fer_jax preprocess"
# a PNG chunk
MARK = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))
_HEADER = 33  # bytes: a PNG's signature and its first chunk


class Source(NamedTuple):
    """Frames, of how many if that is known, the name the user knows, and whether only Ctrl-C ends
    them.
    """

    frames: Iterable[faces.Frame]
    total: int | None
    name: str
    endless: bool


def main() -> None:
    arguments = parse_arguments()
    files.require_folder(arguments.out)  # now, not after an hour of camera
    earlier = earlier_faces(arguments.out)
    detector = faces.detector(arguments.detector, arguments.detector_model)
    mark = b"" if is_shipped(arguments.out) else MARK
    with opened(arguments) as source, appearing_in(arguments.out, earlier) as work:
        samples = cut_faces(source, detector, work, mark)
        if not samples:
            raise InputError(f"{source.name}: must give a frame, but gave none: nothing is written")
        count = len(list(work.iterdir()))
    found = f"{samples} samples, {count} faces in {arguments.out}"
    print(f"{source.name}: {found}, {samples - count} without a face ({detector.name})")


def parse_arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    sources = {"metavar": "INDEX|FILE|URL|FOLDER", "type": stream.parse_source}
    text = "camera, video, or folder of pictures; default: the clip that comes with the code"
    parser.add_argument("--source", **sources, default=str(FOLDER / "input_video.mp4"), help=text)
    text = "period of a video's samples; default: 1"
    parser.add_argument(
        "--every", metavar="SECONDS", type=stream.parse_period, default=1.0, help=text
    )
    text = "default: results/preprocessing_test"
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=FOLDER, help=text)
    faces.add_detector(parser)
    return parser.parse_args()


def earlier_faces(folder: Path) -> list[Path]:
    """The images of an earlier run.

    Raises:
        InputError: an imageN.png that no run of this script wrote; it would be lost.
    """
    paths = [
        path for path in folder.glob("image*.png") if re.fullmatch(r"image\d+\.png", path.name)
    ]
    for path in paths:
        if not faces.is_face_file(path) or not (is_shipped(folder) or is_marked(path)):
            raise InputError(
                f"{path}: is no face of an earlier run of this script and would be lost: choose another --out"
            )
    return paths


def is_shipped(folder: Path) -> bool:
    """Whether it is the folder that comes with the code, whose faces are all this script's and bear
    no mark.
    """
    return folder.resolve() == FOLDER


def is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_HEADER + len(MARK))[_HEADER:] == MARK


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Source]:
    if isinstance(arguments.source, str) and (folder := Path(arguments.source)).is_dir():
        paths = pictures.in_folder(folder)
        if folder.resolve() == arguments.out.resolve():
            raise InputError(
                f"{folder}: the pictures and the faces must lie in two folders: choose another --out"
            )
        yield Source(map(faces.read_image, paths), len(paths), str(folder), endless=False)
        return
    with stream.Video(arguments.source) as video:
        total = None if video.duration is None else int(video.duration / arguments.every) + 1
        yield Source(
            (frame for _, frame in video.frames(arguments.every)),
            total,
            video.name,
            endless=video.live,
        )


def cut_faces(source: Source, detector: faces.Detector, work: Path, mark: bytes) -> int:
    """Write the largest face of each frame to the folder `work`, with `mark`; the number of frames."""
    samples = 0
    shown = tqdm(
        source.frames, "cutting faces", source.total, unit="sample", disable=not sys.stderr.isatty()
    )
    with contextlib.suppress(KeyboardInterrupt) if source.endless else contextlib.nullcontext():
        for samples, frame in enumerate(shown, 1):
            if box := faces.largest(detector(frame)):
                write_face(work / f"image{samples - 1}.png", faces.crop(frame, box), mark)
    return samples


def write_face(path: Path, face: np.ndarray, mark: bytes) -> None:
    encoded = faces.opencv().imencode(".png", face)[1].tobytes()
    with files.replacing(path) as temporary:
        temporary.write_bytes(encoded[:_HEADER] + mark + encoded[_HEADER:])


@contextlib.contextmanager
def appearing_in(out: Path, earlier: list[Path]) -> Iterator[Path]:
    """A hidden folder whose files take the place of the `earlier` ones in `out` at the end; on an
    error they vanish.

    It lies in `out`, or where `out` will be made: a source may fail at its end, and then there is
    to be none.
    """
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    with tempfile.TemporaryDirectory(prefix=".faces-", dir=existing) as work:
        yield Path(work)
        out.mkdir(parents=True, exist_ok=True)
        made = {path.replace(out / path.name).name for path in list(Path(work).iterdir())}
    for path in earlier:
        if path.name not in made:
            path.unlink()


if __name__ == "__main__":
    sys.exit(cli.run(main))

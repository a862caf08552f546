"""Cut the largest face out of a video once a second: 48x48, grey, centred, as the network wants."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from fer_jax import cli, faces, files
from fer_jax.errors import InputError
from fer_jax.faces import cutting
from fer_jax.video import capture

EPILOG = """examples:
  python scripts/preprocess.py --source interview.mp4 --out results/interview
  python scripts/preprocess.py --source portraits/ --out results/portraits --detector yunet

imageN.png is the face of sample N; a sample without a face has no image. Of a folder, sample N is
the picture N, sorted by name. A camera is read until Ctrl-C. Faces are kept in a hidden folder
.making-... until the last one is cut; a run that is killed leaves them there. The faces of an
earlier run are replaced: the imageN.png that bear this script's mark (a PNG text chunk). Another
imageN.png in the folder is an error, all other files stay."""


def main() -> None:
    arguments = parse_arguments()
    detector = faces.detector(arguments.detector, arguments.detector_model)
    source = opened(arguments.source, arguments.every, arguments.out)
    print(cutting.cut(source, arguments.out, detector))


@contextlib.contextmanager
def opened(source: int | str, every: float, out: Path) -> Iterator[cutting.Source]:
    """Open a folder of pictures, or a video of which one frame in `every` seconds is taken."""
    if isinstance(source, str) and (folder := Path(source)).is_dir():
        if folder.resolve() == out.resolve():
            rule = "the pictures and the faces must lie in two folders"
            raise InputError(f"{folder}: {rule}: choose another --out")
        yield cutting.pictures_in(folder)
        return
    with capture.Video(source) as video:
        total = None if video.duration is None else int(video.duration / every) + 1
        frames = (frame for _, frame in video.frames(every))
        yield cutting.Source(frames, total, video.name, endless=video.live)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    shipped = files.root() / "results" / "preprocessing_test"
    source = {"metavar": "INDEX|FILE|URL|FOLDER", "type": cli.parse_source}
    text = "camera, video, or folder of pictures; default: the clip that comes with the code"
    parser.add_argument("--source", **source, default=str(shipped / "input_video.mp4"), help=text)
    every = {"metavar": "SECONDS", "type": cli.parse_period, "default": 1.0}
    parser.add_argument("--every", **every, help="period of a video's samples; default: 1")
    out = {"metavar": "FOLDER", "type": Path, "default": shipped}
    parser.add_argument("--out", **out, help="default: results/preprocessing_test")
    faces.add_detector(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Cut the largest face out of each frame of a source into a folder of 48x48 pictures."""

import re
import struct
import sys
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fer_jax import files
from fer_jax.errors import InputError
from fer_jax.faces.framing import Detector, crop, largest
from fer_jax.faces.pictures import PNG_HEADER, Frame, in_folder, read_bytes, read_image, write_png

_TEXT = b"tEXtSoftware\0fer_jax preprocess"  # the PNG chunk of every face that is cut here
MARK = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))


class Source(NamedTuple):
    frames: Iterable[Frame]
    total: int | None  # how many there are, if that is known
    name: str  # as the user knows it
    endless: bool  # whether only Ctrl-C ends them


def pictures_in(folder: Path) -> Source:
    paths = in_folder(folder)
    return Source(map(read_image, paths), len(paths), str(folder), endless=False)


def cut(source: AbstractContextManager[Source], out: Path, detector: Detector) -> str:
    """Write the largest face of frame N to imageN.png in `out`, and return what was done in a line.

    The faces of an earlier run are replaced, all at the end. The source is opened only when it is
    known that `out`, which need not exist, can be written. InputError: it cannot, or it holds an
    imageN.png without our mark, which would be lost; or the source gives no frame.
    """
    files.require_folder(out)  # now, not after an hour of camera
    earlier = [path for path in out.glob("image*.png") if re.fullmatch(r"image\d+", path.stem)]
    for path in earlier:
        if read_bytes(path, PNG_HEADER + len(MARK))[PNG_HEADER:] != MARK:
            rule = "is no face of an earlier run of this script and would be lost"
            raise InputError(f"{path}: {rule}: choose another --out")
    samples, quiet = 0, not sys.stderr.isatty()
    with source as opened, files.appearing_in(out, earlier) as work:
        frames = tqdm(opened.frames, "cutting faces", opened.total, unit="sample", disable=quiet)
        with suppress(KeyboardInterrupt) if opened.endless else nullcontext():
            for samples, frame in enumerate(frames, 1):
                if face := largest(detector(frame)):
                    write_png(work / f"image{samples - 1}.png", crop(frame, face), MARK)
        if not samples:
            raise InputError(f"{opened.name}: must give a frame, but gave none: nothing is written")
        count = len(list(work.iterdir()))
    without = f"{samples - count} without a face ({detector.name})"
    return f"{opened.name}: {samples} samples, {count} faces in {out}, {without}"

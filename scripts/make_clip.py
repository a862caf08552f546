"""Make the clip that comes with the code: 20 s of a camera that moves over a photograph."""

import math
import sys
from pathlib import Path

import numpy as np

from fer_jax import cli, faces, files

SIZE, RATE, FRAMES = (512, 384), 15, 301  # the last frame is second 20
FACE = (222.0, 112.0)  # between the eyes, in pixels of the 512x512 photograph
EPILOG = """example:
  python scripts/make_clip.py --out clip.mp4

The photograph (NASA, Eileen Collins, public domain) lies in the scikit-image package. The same
versions of OpenCV and scikit-image write the same bytes."""


def main() -> None:
    parser = cli.parser(__doc__, EPILOG)
    clip = files.root() / "results" / "preprocessing_test" / "input_video.mp4"
    parser.add_argument("--out", type=Path, default=clip, help="default: the repository's clip")
    out = parser.parse_args().out
    files.require_ending(out, ".mp4")
    from skimage.data import astronaut

    cv2 = faces.opencv()
    photograph = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    # MPEG-4 part 2: the one codec that OpenCV's wheels both write and read on every platform
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    with files.replacing(out) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, RATE, SIZE)
        for index in range(FRAMES):
            writer.write(view(photograph, index / RATE))
        writer.release()
    print(f"{out}: {FRAMES} frames, {out.stat().st_size / 1e6:.2f} MB")


def view(photograph: np.ndarray, seconds: float) -> np.ndarray:
    """Return what a camera sees that pans, tilts by 6 degrees and zooms, in changing light."""
    cv2 = faces.opencv()
    swing = lambda period, phase=0.0: math.sin(2 * math.pi * (seconds / period + phase))
    zoom = 1.5 + 0.3 * swing(20, 0.25)
    affine = cv2.getRotationMatrix2D(FACE, 6 * swing(10), zoom)
    # the photograph's upper edge stays out of view
    affine[0, 2] += 256 + 55 * swing(13) - FACE[0]
    affine[1, 2] += FACE[1] * zoom - 12 + 12 * swing(9) - FACE[1]
    flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    seen = cv2.warpAffine(photograph, affine, SIZE, **flags)
    return cv2.convertScaleAbs(seen, alpha=1 + 0.2 * swing(7), beta=12 * swing(17))


if __name__ == "__main__":
    sys.exit(cli.run(main))

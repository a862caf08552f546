"""Make the clip that comes with the code: 20 s of a camera moving over the public-domain astronaut
photograph.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from fer_jax import cli, faces, files

SIZE, RATE, FRAMES = (512, 384), 15, 301  # the last frame is second 20
FACE = (222.0, 112.0)  # between the eyes, in pixels of the 512x512 photograph
CLIP = Path(__file__).resolve().parents[1] / "results" / "preprocessing_test" / "input_video.mp4"
EPILOG = """\
example:
  python scripts/make_clip.py --out clip.mp4

The photograph (NASA, Eileen Collins, public domain) lies in the scikit-image package. The same versions of OpenCV and
scikit-image write the same bytes.
"""


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument(
        "--out", metavar="FILE", type=Path, default=CLIP, help="default: the clip of the repository"
    )
    out = parser.parse_args().out
    from skimage.data import astronaut

    cv2 = faces.opencv()
    photograph = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    with files.replacing(out) as temporary:
        # MPEG-4 part 2: the one codec that OpenCV's wheels both write and read on every platform
        writer = cv2.VideoWriter(
            str(temporary), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE
        )
        for index in range(FRAMES):
            writer.write(view(photograph, index / RATE))
        writer.release()
    print(f"{out}: {FRAMES} frames, {out.stat().st_size / 1e6:.2f} MB")


def view(photograph: np.ndarray, seconds: float) -> np.ndarray:
    """What the camera sees, BGR uint8 [384, 512, 3]: it pans, tilts by 6 degrees, zooms, and the
    light changes.
    """
    cv2 = faces.opencv()

    def swing(period: float, phase: float = 0.0) -> float:
        return math.sin(2 * math.pi * (seconds / period + phase))

    zoom = 1.5 + 0.3 * swing(20, 0.25)
    affine = cv2.getRotationMatrix2D(FACE, 6 * swing(10), zoom)
    # the photograph's upper edge stays out of view
    eyes = 256 + 55 * swing(13), FACE[1] * zoom - 12 + 12 * swing(9)
    affine[:, 2] += eyes[0] - FACE[0], eyes[1] - FACE[1]
    seen = cv2.warpAffine(
        photograph, affine, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.convertScaleAbs(seen, alpha=1 + 0.2 * swing(7), beta=12 * swing(17))


if __name__ == "__main__":
    sys.exit(cli.run(main))

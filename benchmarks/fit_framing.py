"""Where a detector's box lies in FER-2013's frames: the measurement behind faces/framing.py.

python benchmarks/fit_framing.py --data data --detector yunet
"""

import math
import sys

import numpy as np
from tqdm import tqdm

from fer_jax import cli, faces

SCALE, BORDER = 4, 96  # enlarged, with half a frame of border: the box may be larger than it


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_data(parser)
    text = "how many, evenly spread (default: 800)"
    parser.add_argument("--images", metavar="N", type=int, default=800, help=text)
    faces.add_detector(parser)
    arguments = parser.parse_args()
    from fer_jax import data

    detector = faces.detector(arguments.detector, arguments.detector_model)
    images = data.load(arguments.data).train.images
    images = images[:: max(1, len(images) // arguments.images)]
    rows = framings(images, detector)
    print(f"{len(images)} training images, {detector.name} finds a face in {len(rows)};")
    print("in units of its box's shorter side:")
    for name, column in zip(("side", "down", "right", "roll"), rows.T, strict=True):
        low, median, high = np.percentile(column, (25, 50, 75))
        print(f"  {name:5s}  median {median:6.3f}, quartiles {low:6.3f} and {high:6.3f}")


def framings(images: np.ndarray, detector: faces.Detector) -> np.ndarray:
    """Return the frame as the largest face of each image sees it, float64 [M, 4]; M faces.

    Columns: the frame's side; its centre from the box's, down and to the right along the face (all
    in units of the box's shorter side); the roll in radians, 0 for Haar.
    """
    cv2 = faces.opencv()
    rows, side = [], SCALE * faces.FACE_SIZE
    for image in tqdm(images, "detecting", unit="image", leave=False, disable=None):
        enlarged = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        framed = cv2.copyMakeBorder(enlarged, *[BORDER] * 4, cv2.BORDER_REPLICATE)
        if face := faces.largest(detector(framed)):
            size, cos, sin = min(face.w, face.h), math.cos(face.roll), math.sin(face.roll)
            x, y = BORDER + side / 2 - np.array(face.centre)
            down, right = (y * cos - x * sin) / size, (x * cos + y * sin) / size
            rows.append((side / size, down, right, face.roll))
    return np.array(rows).reshape(-1, 4)


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Where the Haar box lies in FER-2013's frames: the measurement behind `faces.FRAME_PER_BOX`.

python benchmarks/fit_haar_framing.py --data data
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from fer_jax import cli, data, faces
from fer_jax.types import IMAGE_SIZE

SCALE, BORDER = 4, 96  # enlarged, with half a frame of replicated border: the box may be larger than the frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", type=Path, default="data", help="default: data")
    parser.add_argument("--images", metavar="N", type=int, default=800, help="how many, evenly spread (default: 800)")
    arguments = parser.parse_args()
    images = data.load(arguments.data).train.images
    images = images[:: max(1, len(images) // arguments.images)]
    boxes = box_positions(images)
    print(f"{len(images)} training images, a face found in {len(boxes)}; in units of the frame:")
    for name, column in zip(("centre x", "centre y", "width"), boxes.T, strict=True):
        low, median, high = np.percentile(column, (25, 50, 75))
        print(f"  {name:8s}  median {median:.3f}, quartiles {low:.3f} and {high:.3f}")


def box_positions(images: np.ndarray) -> np.ndarray:
    """Centre x, centre y and width of the largest face, float64 [M, 3] in units of the frame; M faces were found."""
    cv2, detector, rows = faces.opencv(), faces.HaarDetector(), []
    for image in images:
        enlarged = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        framed = cv2.copyMakeBorder(enlarged, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        if box := faces.largest(detector(framed)):
            rows.append((box.x + box.w / 2 - BORDER, box.y + box.h / 2 - BORDER, box.w))
    return np.array(rows).reshape(-1, 3) / (SCALE * IMAGE_SIZE)


if __name__ == "__main__":
    sys.exit(cli.run(main))

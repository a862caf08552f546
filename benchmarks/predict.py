"""Latency of one `Predictor` call after warm-up: python benchmarks/predict.py [--model FILE]
[--tta]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from fer_jax import cli, runtime

CALLS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument("--tta", action="store_true", help="ten views of each face")
    args = parser.parse_args()
    runtime.configure()
    from fer_jax.predict import BUCKETS, Predictor

    predictor = Predictor(args.model, args.tta)
    for count in BUCKETS:
        faces = np.random.default_rng(0).integers(0, 256, (count, 48, 48), np.uint8)
        calls = max(5, CALLS // count)
        milliseconds = sorted(1000 * seconds for seconds in times(predictor, faces, calls))
        median, worst = statistics.median(milliseconds), milliseconds[int(0.95 * len(milliseconds))]
        print(
            f"{count:4} faces: median {median:8.2f} ms, 95th percentile {worst:8.2f} ms ({calls} calls)"
        )


def times(predictor, faces: np.ndarray, calls: int) -> list[float]:
    """Seconds of each call, after two that compile and warm up."""
    for _ in range(2):
        predictor(faces)
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        predictor(faces)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Latency of one `Predictor` call after warm-up: python benchmarks/predict.py [--model FILE]"""

import sys
import time

import numpy as np

from fer_jax import cli

CALLS = 200


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_model(parser)
    parser.add_argument("--tta", action="store_true", help="ten views of each face")
    args = parser.parse_args()
    from fer_jax.predict import BUCKETS, Predictor

    predictor = Predictor(args.model, args.tta)
    for count in BUCKETS:
        faces = np.random.default_rng(0).integers(0, 256, (count, 48, 48), np.uint8)
        seconds, calls = [], max(5, CALLS // count)
        for _ in range(2 + calls):  # the first two compile and warm up
            start = time.perf_counter()
            predictor(faces)
            seconds.append(time.perf_counter() - start)
        median, slow = 1000 * np.percentile(seconds[2:], (50, 95))
        figures = f"median {median:8.2f} ms, 95th percentile {slow:8.2f} ms"
        print(f"{count:4} faces: {figures} ({calls} calls)")


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""The CPU's convolutions (models/winograd.py, models/shifted.py) against XLA's, forwards and both
gradients, by layer.

    python benchmarks/convolution.py                    # the layers of the deliverable, batches of
    8 to 256

Prints milliseconds, the fastest of the repeats, and the ratio; fer_jax/models/layers.py holds the
limits that were read off.
"""

import argparse
import sys
import time

from fer_jax import cli, runtime

LAYERS = (
    (40, 1, 32),
    (40, 32, 32),
    (20, 32, 96),
    (20, 96, 96),
    (10, 96, 256),
    (10, 256, 256),
    (5, 256, 512),
    (5, 512, 512),
)


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    import jax

    from fer_jax.models import shifted, winograd

    def back(convolve):
        return lambda x, kernel, gradient: jax.vjp(lambda x: convolve(x, kernel), x)[1](gradient)[0]

    def of_kernel(convolve):
        return lambda x, kernel, gradient: jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](
            gradient
        )[0]

    print(
        "batch  side  channels    forward: XLA, ours          to the image: XLA, ours     to the kernel: XLA, ours"
    )
    for batch in args.batches:
        for side, inputs, outputs in LAYERS:
            shapes = (
                (batch, side, side, inputs),
                (3, 3, inputs, outputs),
                (batch, side, side, outputs),
            )
            arrays = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
            form, cells = (shifted if inputs == 1 else winograd).convolve, ""
            for program, operands in (
                (lambda convolve: convolve, arrays[:2]),
                (back, arrays),
                (of_kernel, arrays),
            ):
                xla, ours = (
                    fastest(program(f), operands, args.repeats) for f in (winograd.plain, form)
                )
                cells += f"  {xla:7.2f} ms {ours:7.2f} ms {xla / ours:5.2f}"
            print(f"{batch:5}  {side:4}  {inputs:3}-{outputs:3}  {cells}", flush=True)


def fastest(function, operands, repeats: int) -> float:
    """Milliseconds of the fastest call."""
    import jax

    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*operands))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*operands))
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[8, 32, 64, 128, 256],
        help="default: 8 32 64 128 256",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="calls to take the fastest of (default: 5)"
    )
    args = parser.parse_args()
    if min(*args.batches, args.repeats) < 1:
        parser.error("--batches and --repeats must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))

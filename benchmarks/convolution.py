"""The CPU's convolutions against XLA's, forwards and both gradients, layer by layer.

    python benchmarks/convolution.py                      # float32: shifted and Winograd's
    python benchmarks/convolution.py --dtype bfloat16     # as in training, where oneDNN serves both

The layers are those of experiments/vgg.py. Prints milliseconds, the fastest of the repeats, and how
many times as fast ours is; the limits in fer_jax/models/layers.py and convolution.py were read off.
"""

import time
from itertools import product

from fer_jax import cli, runtime

LAYERS = (
    *((40, 1, 32), (40, 32, 32), (20, 32, 96), (20, 96, 96)),
    *((10, 96, 256), (10, 256, 256), (5, 256, 512), (5, 512, 512)),
)


def main() -> None:
    parser = cli.parser(__doc__)
    option = parser.add_argument
    option(
        "--batches", type=int, nargs="+", default=[8, 64, 128], help="images (default: 8 64 128)"
    )
    option("--dtype", choices=("float32", "bfloat16"), default="float32", help="default: float32")
    option("--repeats", type=int, default=5, help="calls to take the fastest of (default: 5)")
    args = parser.parse_args()
    if min(*args.batches, args.repeats) < 1:
        parser.error("--batches and --repeats must be at least 1")
    runtime.configure(training=args.dtype == "bfloat16")
    import jax

    from fer_jax.models import convolution, winograd

    def passes(convolve):
        towards = lambda at: lambda *all: jax.vjp(convolve, *all[:2])[1](all[2])[at]
        return lambda x, kernel, gradient: convolve(x, kernel), towards(0), towards(1)

    draw = lambda *shape: jax.random.normal(jax.random.key(sum(shape)), shape, args.dtype)
    header = "forward: XLA, ours        to the image            to the kernel"
    print(f"batch  side  channels    {header}")
    for batch, (side, inputs, outputs) in product(args.batches, LAYERS):
        arrays = draw(batch, side, side, inputs), draw(3, 3, inputs, outputs)
        arrays = *arrays, draw(batch, side, side, outputs)
        ours = convolution.shifted if inputs == 1 else winograd.convolve
        ours = convolution.turned if args.dtype == "bfloat16" else ours
        cells = ""
        for each in zip(passes(convolution.plain), passes(ours), strict=True):
            xla, tuned = (fastest(jax.jit(function), arrays, args.repeats) for function in each)
            cells += f"  {xla:7.2f} {tuned:7.2f} ms {xla / tuned:5.2f}"
        print(f"{batch:5}  {side:4}  {inputs:3}-{outputs:3}  {cells}", flush=True)


def fastest(compiled, operands, repeats: int) -> float:
    """Return the milliseconds of the fastest call."""
    times = []
    for _ in range(repeats + 1):  # the first compiles
        began = time.perf_counter()
        compiled(*operands).block_until_ready()
        times.append(time.perf_counter() - began)
    return 1000 * min(times[1:])


if __name__ == "__main__":
    main()

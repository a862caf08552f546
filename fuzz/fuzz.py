"""Feed damaged and hostile files to every reader: each must be accepted, or refused in one line,
soon and cheaply.

A fault is any exception but InputError, a message of more than one line, more than 10 seconds of
processor time, more than 1 GiB of memory beyond what the file's own size explains, a dead process,
or code from the file executed.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzzing.judge import Judge, Outcome, write
from fuzzing.targets import TARGETS
from tqdm import tqdm

from fer_jax import cli
from fer_jax.errors import InputError

EPILOG = """examples:
  python fuzz/fuzz.py --inputs 20000
  python fuzz/fuzz.py --inputs 200000 --seed 7 --targets zip,model
  python fuzz/fuzz.py --inputs 100000 --engine atheris --targets model   (needs `pip install atheris`)

Input number N of a seed is always the same. Inputs with a fault are kept under --out, one folder each. Exit code 1 if
there are any.
"""


class Tally(NamedTuple):
    """What became of one target's inputs."""

    outcomes: list[Outcome]

    def row(self, name: str) -> str:
        accepted = sum(outcome.accepted for outcome in self.outcomes)
        faults = sum(bool(outcome.fault) for outcome in self.outcomes)
        slowest = max((outcome.seconds for outcome in self.outcomes), default=0)
        peak = max((outcome.peak for outcome in self.outcomes), default=0) / 2**20
        counts = (len(self.outcomes), len(self.outcomes) - accepted - faults, accepted, faults)
        return (
            f"{name:10}"
            + "".join(f"{count:>10,}" for count in counts)
            + f"{slowest:>10.2f} s{peak:>10,.0f} MiB"
        )


def main() -> int:
    args = parse_arguments()
    names = args.targets.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        raise InputError(f"--targets: must be of {', '.join(TARGETS)}, received {unknown[0]!r}")
    if args.engine == "atheris":
        return run_atheris(names, args.inputs, args.seed, args.out)
    began = time.perf_counter()
    tallies = run_mutations(names, args.inputs, args.seed, args.out)
    print(
        f"{'target':10}{'inputs':>10}{'refused':>10}{'accepted':>10}{'faults':>10}{'slowest':>12}{'most memory':>14}"
    )
    for name, tally in tallies.items():
        print(tally.row(name))
    print(f"{args.inputs:,} inputs in {time.perf_counter() - began:,.0f} s")
    return int(any(outcome.fault for tally in tallies.values() for outcome in tally.outcomes))


def run_mutations(names: list[str], inputs: int, seed: int, out: Path) -> dict[str, Tally]:
    """Judge inputs 0, 1, ... of the seed, each for the next target in turn; those with a fault are
    kept in `out`.
    """
    tallies = {name: Tally([]) for name in names}
    with Judge() as judge, tqdm(total=inputs, unit=" inputs", disable=None) as bar:
        for number in range(inputs):
            name = names[number % len(names)]
            files = TARGETS[name].generate(Random(f"{seed} {number}"))
            outcome = judge(name, files)
            tallies[name].outcomes.append(outcome)
            if outcome.fault:
                write(files, kept := out / f"{name}-{seed}-{number}")
                bar.write(f"{kept}: {outcome.fault}", file=sys.stderr)
            bar.update()
    return tallies


def run_atheris(names: list[str], inputs: int, seed: int, out: Path) -> int:
    """Let libFuzzer choose the generators' decisions by the code that they reach, one target after
    the other.
    """
    if importlib.util.find_spec("atheris") is None:
        raise InputError("--engine atheris needs its package: pip install atheris")
    program = [sys.executable, "-P", "-m", "fuzzing.coverage"]
    settings = [f"-runs={-(-inputs // len(names))}", f"-seed={seed + 1}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    failed = False
    for name in names:
        with tempfile.TemporaryDirectory() as cage:
            done = subprocess.run(
                [*program, name, out.resolve(), *settings], cwd=cage, env=environment
            )
        failed |= done.returncode != 0
    return int(failed)


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument(
        "--inputs", type=int, default=20_000, metavar="N", help="over all targets (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default: 0)")
    parser.add_argument(
        "--targets", default=",".join(TARGETS), help=f"default: {','.join(TARGETS)}"
    )
    parser.add_argument(
        "--engine", choices=("mutate", "atheris"), default="mutate", help="default: mutate"
    )
    out = Path("runs/fuzz")
    parser.add_argument(
        "--out",
        type=Path,
        default=out,
        metavar="DIR",
        help=f"for inputs with a fault (default: {out})",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))

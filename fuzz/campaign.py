"""Many inputs for many readers, by either engine, and what became of them."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from judge import Judge, Outcome, write
from targets import TARGETS
from tqdm import tqdm

from fer_jax.errors import InputError


def run(targets: str, engine: str, inputs: int, seed: int, out: Path) -> int:
    """Judge `inputs` inputs of the targets ("all", or names with commas): 1 after a fault, else 0.

    Those with a fault are kept in `out`.
    """
    names = list(TARGETS) if targets == "all" else targets.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        raise InputError(f"--targets: must be of {', '.join(TARGETS)}, received {unknown[0]!r}")
    if engine == "atheris":
        return _run_atheris(names, inputs, seed, out)
    began = time.perf_counter()
    outcomes = _run_mutations(names, inputs, seed, out)
    print(f"{'target':10}{'inputs':>10}{'refused':>10}{'accepted':>10}{'faults':>10}", end="")
    print(f"{'slowest':>12}{'most memory':>14}")
    for name, judged in outcomes.items():
        accepted = sum(outcome.accepted for outcome in judged)
        faults = sum(bool(outcome.fault) for outcome in judged)
        counts = (len(judged), len(judged) - accepted - faults, accepted, faults)
        slowest = max((outcome.seconds for outcome in judged), default=0)
        peak = max((outcome.peak for outcome in judged), default=0) / 2**20
        row = "".join(f"{count:>10,}" for count in counts)
        print(f"{name:10}{row}{slowest:>10.2f} s{peak:>10,.0f} MiB")
    print(f"{inputs:,} inputs in {time.perf_counter() - began:,.0f} s")
    return int(any(outcome.fault for judged in outcomes.values() for outcome in judged))


def _run_mutations(names: list[str], inputs: int, seed: int, out: Path) -> dict[str, list[Outcome]]:
    """Judge inputs 0, 1, ... of the seed, each for the next target in turn."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    with Judge() as judge, tqdm(total=inputs, unit=" inputs", disable=None) as bar:
        for number in range(inputs):
            name = names[number % len(names)]
            files = TARGETS[name].generate(Random(f"{seed} {number}"))
            outcome = judge(name, files)
            outcomes[name].append(outcome)
            if outcome.fault:
                kept = out / f"{name}-{seed}-{number}"
                write(files, kept)
                bar.write(f"{kept}: {outcome.fault}", file=sys.stderr)
            bar.update()
    return outcomes


def _run_atheris(names: list[str], inputs: int, seed: int, out: Path) -> int:
    """Let libFuzzer choose the generators' decisions by the code that they reach."""
    if importlib.util.find_spec("atheris") is None:
        raise InputError("--engine atheris needs its package: pip install atheris")
    program = [sys.executable, Path(__file__).resolve().with_name("guided.py")]
    settings = [f"-runs={-(-inputs // len(names))}", f"-seed={seed + 1}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    codes = []
    for name in names:
        command = [*program, name, out.resolve(), *settings]
        with tempfile.TemporaryDirectory() as cage:
            codes.append(subprocess.run(command, cwd=cage, env=environment).returncode)
    return int(any(codes))

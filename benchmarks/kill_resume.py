"""Kill a training run again and again, resume it, and compare its weights with those of a run that was left alone.

    python benchmarks/kill_resume.py --kills 20

Every kill is SIGKILL at a random moment; every second one waits for a file of a save in progress to appear, and strikes
within it. The run is experiments/smoke.py on random faces, in a temporary folder.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_jax import cli, model_file
from fer_jax.data import prepare, sources
from fer_jax.data.sources import Split

ROOT = Path(__file__).resolve().parents[1]
SAVING = ("*checkpoints/*tmp*", ".model-*", ".history-*", ".run-*")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, help="of the run (default: two for each kill)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), args.kills, args.epochs or 2 * args.kills, random.Random(args.seed))


def compare(folder: Path, kills: int, epochs: int, moments: random.Random) -> int:
    """0 if the run that was killed ends with the weights of the one that was not, else 1."""
    make_data(folder / "data")
    began = time.monotonic()
    if command(folder, "whole", epochs).wait() != 0:
        raise SystemExit(f"the run failed: {(folder / 'whole.log').read_text()[-1000:]}")
    length = time.monotonic() - began
    saves = 0
    for i in tqdm(range(kills), desc="kills", disable=None):
        saves += kill_once(folder, epochs, moments, length, inside_save=i % 2 == 1)
    if command(folder, "killed", epochs).wait() != 0:
        raise SystemExit(f"resuming failed: {(folder / 'killed.log').read_text()[-1000:]}")
    whole, killed = (model_file.load(folder / name / "model.pkl") for name in ("whole", "killed"))
    same = equal(whole.variables, killed.variables) and whole.temperature == killed.temperature
    print(f"{kills} kills, {saves} of them within a save: the weights are {'bit-identical' if same else 'DIFFERENT'}")
    return 0 if same else 1


def kill_once(folder: Path, epochs: int, moments: random.Random, length: float, inside_save: bool) -> bool:
    """Start or resume the run and kill it; True if a save was in progress. A run that ends first is left as it is."""
    workdir, process = folder / "killed", command(folder, "killed", epochs)
    deadline = time.monotonic() + moments.uniform(0.1, 1.0) * length
    while process.poll() is None and (inside_save or time.monotonic() < deadline):
        if inside_save and time.monotonic() > deadline - 0.5 * length and saving(workdir):
            break
        time.sleep(0.001)
    found = saving(workdir)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return found


def saving(workdir: Path) -> bool:
    return any(next(workdir.glob(pattern), None) for pattern in SAVING)


def command(folder: Path, name: str, epochs: int) -> subprocess.Popen:
    """The run, from its newest checkpoint if there is one; what it prints goes to NAME.log."""
    words = [sys.executable, "scripts/train.py", "--config", "experiments/smoke.py", "--data", folder / "data"]
    words += ["--workdir", folder / name, "--set", f"epochs={epochs}", "--set", "early_stopping.patience=10000"]
    resume = ["--resume"] if (folder / name).exists() else []
    with (folder / f"{name}.log").open("a") as log:
        return subprocess.Popen(list(map(str, words + resume)), cwd=ROOT, stdout=log, stderr=log)


def make_data(folder: Path) -> None:
    """A prepared .npz of random faces whose brightness tells the label: as small as smoke.py's batches allow."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        labels = (np.arange(n) % 7).astype(np.int32)
        return Split((rng.integers(0, 100, (n, 48, 48)) + 20 * labels[:, None, None]).astype(np.uint8), labels)

    folder.mkdir()
    prepare.save_npz(sources.bundle(split(300), split(30), split(30)), folder / "fer2013.npz")


def equal(one: dict, other: dict) -> bool:
    return all(
        equal(value, other[key]) if isinstance(value, dict) else np.array_equal(value, other[key])
        for key, value in one.items()
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))

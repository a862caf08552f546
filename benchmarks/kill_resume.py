"""Kill a training run again and again, resume it, and compare its weights with those of a run that
was left alone.

    python benchmarks/kill_resume.py --kills 20

Every kill is SIGKILL at a random moment; every second one waits for a file of a new save to appear,
and strikes within it. Compared bit for bit are the last checkpoints (weights, averages, best
weights, optimiser, counters, key) and the model files. The run is experiments/smoke.py on random
faces, in a temporary folder.
"""

import argparse
import json
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

from fer_jax import cli, runtime

runtime.configure()

ROOT = Path(__file__).resolve().parents[1]
SAVING = ("*checkpoints/*tmp*", ".model-*", ".history-*", ".run-*")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), args.kills, 2 * args.kills + 2, random.Random(args.seed))


def compare(folder: Path, kills: int, epochs: int, moments: random.Random) -> int:
    """0 if the run that was killed ends with the weights of the one that was not, else 1."""
    make_data(folder / "data")
    began = time.time()
    if command(folder, "whole", epochs).wait() != 0:
        raise SystemExit(f"the run failed: {(folder / 'whole.log').read_text()[-1000:]}")
    # until the run itself begins
    start = (folder / "whole" / "config.json").stat().st_mtime - began
    share = (time.time() - began - start) / kills
    within = 0
    for i in tqdm(range(kills), desc="kills", disable=None):
        # A machine that is quicker now must not end the run before its last kill: no kill waits for
        # more than its share.
        seconds, limit = start + moments.uniform(0.1, 1.0) * share, (i + 1) * (epochs - 2) // kills
        within += kill_once(folder, epochs, seconds, limit, inside_save=i % 2 == 1)
    if command(folder, "killed", epochs).wait() != 0:
        raise SystemExit(f"resuming failed: {(folder / 'killed.log').read_text()[-1000:]}")
    same = all(map(np.array_equal, *(leaves(folder, name) for name in ("whole", "killed"))))
    print(
        f"{kills} kills, {within} of them within a save: the runs are {'bit-identical' if same else 'DIFFERENT'}"
    )
    return 0 if same else 1


def kill_once(folder: Path, epochs: int, seconds: float, limit: int, inside_save: bool) -> bool:
    """Start or resume the run and kill it after `seconds` or `limit` epochs, or in the next save;
    True if within a save.
    """
    workdir = folder / "killed"
    left_over = saving(workdir)  # by earlier kills
    process, deadline = command(folder, "killed", epochs), time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and epochs_done(workdir) < limit:
        time.sleep(0.001)
    while process.poll() is None and inside_save and not saving(workdir) - left_over:
        time.sleep(0.001)
    within = bool(saving(workdir) - left_over)
    if process.poll() is not None:
        raise SystemExit(
            f"the run ended before it was killed: {(folder / 'killed.log').read_text()[-500:]}"
        )
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return within


def saving(workdir: Path) -> set[Path]:
    """The files of saves that have begun and not ended."""
    return {path for pattern in SAVING for path in workdir.glob(pattern)}


def epochs_done(workdir: Path) -> int:
    history = workdir / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def leaves(folder: Path, name: str) -> list[np.ndarray]:
    """Every array of a run's last checkpoint and of its model file, in a fixed order."""
    import jax

    from fer_jax import config as configs
    from fer_jax import data
    from fer_jax.models import model_file
    from fer_jax.training import loop as train
    from fer_jax.training.checkpoint import Checkpoints
    from fer_jax.training.parallel import Devices

    workdir = folder / name
    config = configs.from_dict(json.loads((workdir / "config.json").read_text()))
    splits = data.protocol(
        data.load(folder / "data"), config.protocol, seed=config.seed, holdout=config.holdout
    )
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        if checkpoints.latest != config.epochs:
            raise SystemExit(
                f"{workdir}: ends with epoch {checkpoints.latest}, not with {config.epochs}"
            )
        state, progress = checkpoints.restore(
            train._Run(config, splits, workdir, "", Devices()).begin()
        )
    state = state.replace(key=jax.random.key_data(state.key))
    model = model_file.load(workdir / "model.pkl")
    return [
        np.asarray(leaf)
        for leaf in jax.tree.leaves((state, progress, model.variables, model.temperature))
    ]


def command(folder: Path, name: str, epochs: int) -> subprocess.Popen:
    """The run, from its newest checkpoint if there is one; what it prints goes to NAME.log."""
    words = [
        sys.executable,
        "scripts/train.py",
        "--config",
        "experiments/smoke.py",
        "--data",
        folder / "data",
    ]
    words += [
        "--workdir",
        folder / name,
        "--set",
        f"epochs={epochs}",
        "--set",
        "early_stopping.patience=10000",
    ]
    resume = ["--resume"] if (folder / name).exists() else []
    with (folder / f"{name}.log").open("a") as log:
        return subprocess.Popen(list(map(str, words + resume)), cwd=ROOT, stdout=log, stderr=log)


def make_data(folder: Path) -> None:
    """A prepared .npz of random faces whose brightness tells the label: as small as smoke.py's
    batches allow.
    """
    from fer_jax.data import Split, prepare, sources

    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        labels = (np.arange(n) % 7).astype(np.int32)
        return Split(
            (rng.integers(0, 100, (n, 48, 48)) + 20 * labels[:, None, None]).astype(np.uint8),
            labels,
        )

    folder.mkdir()
    prepare.save_npz(sources.bundle(split(300), split(30), split(30)), folder / "fer2013.npz")


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Several devices and several processes against one: the same run, to rounding."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from fer_jax.errors import InputError
from fer_jax.models import model_file
from fer_jax.training import parallel

RUN = """
import sys
from pathlib import Path
from fer_jax import runtime
runtime.configure()
import numpy as np
from fer_jax.training import parallel
if len(sys.argv) > 2:
    parallel.join(sys.argv[2], 2, int(sys.argv[3]))
from fer_jax.training import loop as train
from fer_jax.config import Augment, Config
from fer_jax.data import Protocol, Split
random = np.random.default_rng(0)
def split(n):
    labels = random.integers(0, 7, n).astype(np.int32)
    images = random.integers(0, 90, (n, 48, 48)) + 20 * labels[:, None, None]
    return Split(images.astype(np.uint8), labels)
data = split(64)
splits = Protocol("train-only", data, split(40), split(8), np.eye(7, dtype=np.float32)[data.labels])
model = {"family": "vgg", "stages": [[4], [8]], "dropout": 0.2}
more = {"self_distillation": 0.3, "augment": Augment(erase=0.5)}
config = Config(name="t", model=model, epochs=2, batch_size=16, ema=0.5, **more)
result = train.fit(config, splits, Path(sys.argv[1]))
print("devices", parallel.Devices().count, len(result.history))
"""


def start(workdir, *arguments, devices=1):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {k: v for k, v in os.environ.items() if k != "FER_JAX_CONFIGURED"} | {
        "XLA_FLAGS": flags
    }
    command = [sys.executable, "-c", RUN, str(workdir), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone") / "w"
    finish(start(workdir))
    return workdir


def assert_same_run(one, other):
    """The same history and weights, but for the order of additions."""
    a, b = (
        np.genfromtxt(workdir / "history.csv", delimiter=",", names=True)
        for workdir in (one, other)
    )
    assert a.dtype.names == b.dtype.names
    for name in set(a.dtype.names) - {"seconds"}:
        np.testing.assert_allclose(a[name], b[name], rtol=2e-3, err_msg=name)
    a, b = (model_file.load(workdir / "model.pkl").variables for workdir in (one, other))
    for kind in ("params", "batch_stats"):
        for layer, arrays in a[kind].items():
            for name, values in arrays.items():
                np.testing.assert_allclose(
                    values, b[kind][layer][name], atol=2e-3, err_msg=f"{layer}/{name}"
                )


def test_four_devices_give_what_one_gives(alone, tmp_path):
    assert "devices 4 2" in finish(start(tmp_path / "w", devices=4))
    assert_same_run(alone, tmp_path / "w")


def test_two_processes_give_what_one_gives(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    first, second = (start(tmp_path / "w", address, str(process)) for process in (0, 1))
    told, silent = finish(first), finish(second)
    assert "devices 2 2" in told
    assert "epoch   2" in told
    assert "epoch" not in silent  # one process prints and writes
    assert_same_run(alone, tmp_path / "w")


def test_what_the_first_process_refuses_ends_the_others_too(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    runs = [start(tmp_path / "w", address, str(process)) for process in (0, 1)]
    first, second = (run.communicate()[1] for run in runs)
    assert "already holds a run" in first
    assert "process 0 did not start" in second


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":1", "localhost:x"])
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(InputError, match="coordinator must be HOST:PORT, received"):
        parallel.join(address, 2, 0)


def test_several_processes_need_an_address(root):
    command = [
        sys.executable,
        "scripts/train.py",
        "--config",
        "experiments/smoke.py",
        "--processes",
        "2",
        "--process",
        "1",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --processes and --process need --coordinator HOST:PORT\n",
    )


def test_a_process_that_is_none_of_them_is_refused():
    with pytest.raises(InputError, match="process must be a number from 0 to 1, received 2"):
        parallel.join("localhost:1", 2, 2)

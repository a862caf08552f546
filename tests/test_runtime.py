"""Process settings need processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_jax import runtime

REPORT = """
import json, os, sys
from fer_jax import runtime
runtime.configure(training="training" in sys.argv)
runtime.configure()
print(json.dumps({k: os.environ.get(k, "") for k in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}))
"""

NETWORK = """
import json, sys
from fer_jax import runtime
if sys.argv[1] != "plain":
    runtime.configure(training=sys.argv[1] == "training")
import jax, jax.numpy as jnp
from fer_jax import models
architecture = {"family": "vgg", "stages": [[8, 8], [16]]}
model = models.create(architecture, dtype=jnp.dtype(sys.argv[2]))
images = jax.random.uniform(jax.random.key(0), (16, 24, 24, 1))
variables = model.init(jax.random.key(1), images)
def loss(params):
    stats = variables["batch_stats"]
    mutable = {"params": params, "batch_stats": stats}
    logits, _ = model.apply(mutable, images, train=True, mutable=["batch_stats"])
    return jnp.square(logits).mean()
value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
sizes = [float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(gradient)]
print(json.dumps([float(value), *sizes]))
"""


HEAP = """
import json, pathlib
from fer_jax import runtime
runtime.configure()
sizes, kinds = {}, {}
for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
    words = line.split()
    if "-" in words[0] and ":" not in words[0]:
        heap = words[-1] == "[heap]"
    elif heap and words[0] in ("Size:", "Rss:"):
        sizes[words[0]] = sizes.get(words[0], []) + [1024 * int(words[1])]
    elif heap and words[0] == "VmFlags:":
        kinds[len(sizes["Size:"]) - 1] = "hg" in words
print(json.dumps([sizes["Size:"], sizes["Rss:"], [kinds[i] for i in range(len(kinds))]]))
"""


def run(code, *arguments, **environment):
    ours = ("XLA_FLAGS", "FER_JAX_CONFIGURED", "JAX_COMPILATION_CACHE_DIR")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def onednn() -> bool:
    """Whether training uses oneDNN here."""
    return runtime.tuned() and runtime._onednn_pays()


@pytest.fixture
def measured(monkeypatch):
    """A machine to which the settings apply, whatever this one is."""
    monkeypatch.delenv("FER_JAX_TUNE", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(runtime.sys, "platform", "linux")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(runtime.importlib.metadata, "version", lambda name: "0.10.2")
    return monkeypatch


def test_the_settings_apply_where_they_were_measured(measured):
    assert runtime.tuned()


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda patch: patch.setenv("FER_JAX_TUNE", "0"),
        lambda patch: patch.setenv("JAX_PLATFORMS", "cuda,cpu"),
        lambda patch: patch.setattr(runtime.sys, "platform", "win32"),
        lambda patch: patch.setattr(runtime.platform, "machine", lambda: "arm64"),
        lambda patch: patch.setattr(runtime.importlib.metadata, "version", lambda name: "0.13.0"),
    ],
)
def test_the_settings_stay_off_elsewhere(measured, elsewhere):
    elsewhere(measured)
    assert not runtime.tuned()


def test_a_gpu_plugin_turns_them_off(measured):
    measured.delenv("JAX_PLATFORMS")
    measured.setattr(runtime.importlib.metadata, "entry_points", lambda group: ["cuda13"])
    assert not runtime.tuned()


def test_flags_are_appended_once_to_the_users_own():
    flags = run(REPORT, XLA_FLAGS="--xla_cpu_enable_fast_math=false")["XLA_FLAGS"].split()
    assert flags[0] == "--xla_cpu_enable_fast_math=false"
    assert flags[1:] == [runtime.EIGEN_FLAG] * runtime.tuned()


@pytest.mark.skipif(not onednn(), reason="no oneDNN in jaxlib, or no bfloat16 in the processor")
def test_training_adds_onednn_and_keeps_no_programs_which_jaxlib_cannot_write():
    report = run(REPORT, "training")
    assert report["XLA_FLAGS"].split() == [runtime.EIGEN_FLAG, runtime.ONEDNN_FLAG]
    assert report["JAX_COMPILATION_CACHE_DIR"] == ""
    report = run(REPORT, "training", FER_JAX_ONEDNN="0")
    assert report["XLA_FLAGS"].split() == [runtime.EIGEN_FLAG]
    assert report["JAX_COMPILATION_CACHE_DIR"] != ""


def test_a_flag_that_jaxlib_does_not_know_is_not_set(monkeypatch):
    assert runtime.knows(runtime.EIGEN_FLAG.partition("=")[0])
    assert runtime.knows(runtime.ONEDNN_FLAG.partition("=")[0])
    assert not runtime.knows("--xla_cpu_experimental_ynn_fusion")  # the beginning of a name only
    monkeypatch.setattr(runtime, "knows", lambda name: False)
    monkeypatch.setattr(runtime, "tuned", lambda: True)
    monkeypatch.setattr(runtime, "_keep_freed_memory", lambda: None)
    monkeypatch.setenv("FER_JAX_CONFIGURED", "0")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delitem(sys.modules, "jax")
    runtime.configure(training=True)
    assert os.environ["XLA_FLAGS"] == ""


def test_onednn_is_used_where_the_processor_computes_in_bfloat16(measured, tmp_path):
    measured.delenv("FER_JAX_ONEDNN", raising=False)
    measured.setenv("XLA_FLAGS", runtime.ONEDNN_FLAG)
    measured.setattr(runtime.importlib.metadata, "version", lambda name: "0.12.0.1")
    for features, expected in (("avx2 avx512_bf16", True), ("avx2 avx512f", False)):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(f"flags\t\t: fpu {features}\n")
        measured.setattr(runtime, "CPUINFO", cpuinfo)
        assert runtime.bfloat16() == expected
    cpuinfo.write_text("flags\t\t: fpu amx_bf16\n")
    assert runtime.bfloat16()
    measured.setenv("XLA_FLAGS", "")
    assert not runtime.bfloat16()
    measured.setenv("XLA_FLAGS", runtime.ONEDNN_FLAG)
    measured.setenv("FER_JAX_ONEDNN", "0")
    assert not runtime.bfloat16()
    measured.delenv("FER_JAX_ONEDNN")
    measured.setattr(runtime.importlib.metadata, "version", lambda name: "0.10.2")
    assert not runtime.bfloat16()


def test_the_users_own_choices_stand():
    report = run(
        REPORT,
        XLA_FLAGS=runtime.EIGEN_FLAG + "LIBRARY_FUSION_TYPE_DOT",
        JAX_COMPILATION_CACHE_DIR="/elsewhere",
    )
    assert runtime.EIGEN_FLAG not in report["XLA_FLAGS"].split()
    assert report["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"


def test_it_is_too_late_once_jax_is_imported(monkeypatch):
    monkeypatch.setenv("FER_JAX_CONFIGURED", "0")  # as in a process that never called it
    with pytest.raises(RuntimeError, match="before jax is imported"):
        runtime.configure()


def test_tuned_and_plain_processes_compute_the_same():
    plain = run(NETWORK, "plain", "float32", FER_JAX_TUNE="0")
    assert run(NETWORK, "tuned", "float32") == pytest.approx(plain, rel=1e-4)
    assert run(NETWORK, "training", "float32") == pytest.approx(plain, rel=1e-4)
    assert run(NETWORK, "training", "bfloat16") == pytest.approx(plain, rel=0.05)


@pytest.mark.skipif(
    not runtime.tuned() or not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists(),
    reason="the settings stay off, or the kernel has no huge pages",
)
def test_the_heap_grows_into_huge_pages_and_takes_no_memory_for_it():
    sizes, resident, huge = run(HEAP)
    assert (
        sum(size for size, is_huge in zip(sizes, huge, strict=True) if is_huge)
        > 0.99 * runtime.HUGE
    )
    assert sum(resident) < 2**28

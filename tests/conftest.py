"""Test process set-up: the project's own CPU settings, the CPU even where a GPU is at hand, strict
JAX.
"""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What tests compile runs for milliseconds: less optimisation saves a third of their time. Inherited
# by their processes.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
)

from fer_jax import runtime

runtime.configure()

import jax
import pytest

from fer_jax import cli, files

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's top folder."""
    return ROOT


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as in a terminal, also where the tests run in the background or under nohup, which
    ignore some.
    """
    usual = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    numbers = {
        getattr(signal, name): handler for name, handler in usual.items() if hasattr(signal, name)
    }
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """A Python file of the checkout that is no part of the package, by its path from the top, as a
    module.
    """

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"loaded_{Path(path).stem}", ROOT / path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run_script(load_script, monkeypatch) -> Callable[..., int]:
    """Run a script of scripts/ in this process, as typed in the working directory: its exit code.

    Data, results and runs are looked for in the working directory, whatever the checkout holds.
    """
    monkeypatch.setattr(files, "root", Path)

    def run(name: str, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        return cli.run(load_script(f"scripts/{name}.py").main)

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real inputs that cannot be committed: the folder FER_SHARED, or `shared` beside the checkout;
    skips without.
    """
    folder = Path(os.environ.get("FER_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no real inputs: neither FER_SHARED nor {folder} is a folder")
    return folder

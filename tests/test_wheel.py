"""What `pip install` of a wheel brings, outside a checkout."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from fer_jax import files
from fer_jax.models import describe
from fer_jax.predict import load_model

LOAD = """
import fer_jax, fer_jax.predict
paths = [fer_jax.__file__, fer_jax.predict.default_model_path()]
print(*paths, fer_jax.load_model().architecture["family"], sep="\\n")
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*command, *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """The commands of an environment that has the wheel, and what we have ourselves beneath it.

    Needs a package index: pip builds in an environment of its own.
    """
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", folder, root)
    (wheel,) = folder.glob("fer_jax-*.whl")
    environment = folder / "environment"
    venv.create(environment)
    commands = environment / ("Scripts" if os.name == "nt" else "bin")
    pip("--python", commands / "python", "install", "--no-deps", "--no-index", wheel)
    (packages,) = environment.rglob("site-packages")
    (packages / "ours.pth").write_text(str(Path(np.__file__).parents[1]) + "\n")
    return commands


def output(folder, *command):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = {"cwd": folder, "env": environment, "check": True, "text": True}
    command = [str(argument) for argument in command]
    return subprocess.run(command, capture_output=True, **options).stdout


@pytest.mark.slow
def test_a_wheel_carries_the_default_model(root, installed, tmp_path):
    package, model, family = output(tmp_path, installed / "python", "-P", "-c", LOAD).splitlines()
    assert Path(package).is_relative_to(installed.parent)
    assert Path(model) == Path(package).parent / "assets" / "my_own_model.pkl"
    assert files.digest(Path(model)) == files.digest(root / "results/model/my_own_model.pkl")
    assert family == "vgg" and (Path(package).parent / "py.typed").is_file()


@pytest.mark.slow
def test_the_commands_of_a_wheel_work_outside_a_checkout(installed, tmp_path):
    command = installed / "fer-jax"
    table = describe.layer_table(load_model().architecture)
    assert output(tmp_path, command, "describe-model") == f"{table}\n"
    assert output(tmp_path, command, "predict", "--help").startswith("usage: fer-jax predict ")
    assert "commands: train, predict, live" in output(tmp_path, command)
    assert not list(tmp_path.iterdir())

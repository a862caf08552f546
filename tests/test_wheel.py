"""What `pip install` of a wheel brings, outside a checkout."""

import os
import subprocess
import sys
import zipfile

import pytest

from fer_jax import files

LOAD = """
import fer_jax, fer_jax.predict
print(fer_jax.__file__, fer_jax.predict.default_model_path(), fer_jax.load_model().architecture["family"], sep="\\n")
"""


@pytest.mark.slow
def test_a_wheel_carries_the_default_model(root, tmp_path):
    """Needs a package index: pip builds in an environment of its own."""
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(root),
    ]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("fer_jax-*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", LOAD]
    told = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    ).stdout
    model = installed / "fer_jax" / "assets" / "my_own_model.pkl"
    assert told.split("\n")[:3] == [str(installed / "fer_jax" / "__init__.py"), str(model), "vgg"]
    assert files.digest(model) == files.digest(root / "results" / "model" / "my_own_model.pkl")

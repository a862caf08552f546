import os
import subprocess
import sys

import pytest


def test_from_the_command_line_a_broken_model_is_one_line_and_exit_code_2(root, tmp_path):
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(b"\x80\x04N.")
    command = [sys.executable, root / "scripts" / "predict.py", "--model", broken]
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    environment.pop("FER_JAX_CONFIGURED", None)
    run = {"capture_output": True, "text": True, "env": environment}
    done = subprocess.run([*command, "--images", tmp_path / "a.png"], **run)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"error: {broken}: not a model file of fer_jax: received None\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--images", "face.png", "--json", "x.json"),
        ("--explain", "a.png", "--tta"),
        ("--against", "b.pkl"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(run_script, capsys, arguments):
    assert run_script("predict", *arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("option", ["confusion", "reliability", "explain"])
def test_a_picture_of_no_known_kind_is_refused_before_anything_is_computed(
    run_script, capsys, tmp_path, option
):
    picture = tmp_path / "a.xyz"
    assert run_script("predict", f"--{option}", picture, "--data", tmp_path / "none") == 2
    captured = capsys.readouterr()
    rule = "must end in .png or .pdf or .svg, received '.xyz'"
    assert (captured.out, captured.err) == ("", f"error: {picture}: {rule}\n")
    assert not picture.exists()

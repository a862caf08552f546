"""Which Python `make` takes, among stand-ins that run, do not run or are too old."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="make is for POSIX systems")


@pytest.fixture
def place(tmp_path):
    """An empty home and a PATH of nothing but a shell's tools."""
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "make", "touch", "env"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool}"))
    return tmp_path


def python(path: Path, version: str, code: int = 0) -> Path:
    """Write a stand-in of a version, which exits with 1 when asked for another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    low_to_high = f'[ "$3" = {version} ] || [ "$3$4" = 3.113.13 ]' if code == 0 else "false"
    making = '[ "$1" = -m ] && exit 0'
    path.write_text(f"#!/bin/sh\n{making}\n{low_to_high} || exit {code or 1}\n")
    path.chmod(0o755)
    return path


def found(place, *arguments) -> subprocess.CompletedProcess:
    script = Path(__file__).parents[1] / "scripts" / "find_python.sh"
    environment = {"PATH": str(place / "bin"), "HOME": str(place)}
    command = [shutil.which("sh") or "sh", str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_newest_on_the_path_is_taken(place):
    python(place / "bin" / "python3.12", "3.12")
    python(place / "bin" / "python3.11", "3.11")
    assert found(place).stdout == "python3.12\n"


def test_python3_serves_whatever_its_version(place):
    python(place / "bin" / "python3", "3.11")
    assert found(place).stdout == "python3\n"


def test_a_shim_that_does_not_run_is_passed_over_for_pyenvs_own(place):
    python(place / "bin" / "python3.13", "3.13", code=127)
    python(place / "bin" / "python3", "3.11")
    theirs = python(place / ".pyenv" / "versions" / "3.13.0" / "bin" / "python", "3.13")
    assert found(place).stdout == f"{theirs}\n"


def test_what_uv_knows_is_found(place):
    theirs = python(place / "elsewhere" / "python", "3.12")
    uv = place / "bin" / "uv"
    uv.write_text(f'#!/bin/sh\n[ "$3" = 3.12 ] && echo {theirs}\n')
    uv.chmod(0o755)
    assert found(place).stdout == f"{theirs}\n"


def test_none_is_one_line_and_exit_code_2(place):
    done = found(place)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "needs Python 3.11 to 3.13" in done.stderr


def test_a_named_python_that_is_too_old_is_refused(place):
    old = python(place / "old", "3.10", code=1)
    done = found(place, old)
    assert done.returncode == 2 and done.stderr.startswith(f"{old}: must be a Python from 3.11")
    assert done.stderr.count("\n") == 1


def test_make_says_which_it_takes_and_takes_the_named_one(place):
    root = Path(__file__).parents[1]
    shutil.copy(root / "Makefile", place)
    (place / "scripts").mkdir()
    shutil.copy(root / "scripts" / "find_python.sh", place / "scripts")
    (place / ".venv").mkdir()
    named = python(place / "named", "3.12")
    environment = {"PATH": str(place / "bin"), "HOME": str(place)}
    for arguments in ([f"PYTHON={named}"], ["PYTHON=nowhere"]):
        command = ["make", ".venv/.created", *arguments]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        if arguments[0].endswith("nowhere"):
            assert done.returncode == 2 and "nowhere: must be a Python" in done.stderr
        else:
            assert done.stdout == f"making .venv with {named}\n"
            (place / ".venv" / ".created").unlink()

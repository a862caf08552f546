import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fer_jax.data import archives, download

SCRIPTS = Path(__file__).parents[2] / "scripts"
PIXELS = " ".join(["7"] * 2304)
ROWS = [
    f"{label},{PIXELS},{usage}\n"
    for usage in ("Training", "PublicTest", "PrivateTest")
    for label in range(7)
]


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        stream.writestr("fer2013.csv", "emotion,pixels,Usage\n" + "".join(ROWS))
    return path


def test_an_archive_is_installed_and_what_hides_it_is_named(
    run_script, archive, tmp_path, capsys, monkeypatch
):
    ones = dict.fromkeys(("Training", "PublicTest", "PrivateTest"), (1,) * 7)
    monkeypatch.setitem(download.fetch.__kwdefaults__, "published", ones)
    data = tmp_path / "data"
    assert run_script("download_data", "--from", archive, "--data", data) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{data / archives.ARCHIVE}: 28,709 Training + ")
    assert captured.err == ""
    (data / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    assert run_script("download_data", "--from", archive, "--data", data) == 0
    assert (
        f"note: {data / 'fer2013.csv'} is there too, and is read instead\n"
        in capsys.readouterr().err
    )


def test_another_archive_is_one_line_and_exit_code_2(run_script, archive, tmp_path, capsys):
    assert run_script("download_data", "--from", archive, "--data", tmp_path / "data") == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {archive}: must have 28,709 Training rows, received 7\n"
    assert captured.out == "" and list((tmp_path / "data").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_shell_script_hands_its_arguments_on(tmp_path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    command = [str(SCRIPTS / "download_data.sh"), "--from", "absent file.zip"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: absent file.zip: must be an archive, there is no such file\n"

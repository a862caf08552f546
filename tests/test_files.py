import shutil
import signal
from pathlib import Path

import pytest

from fer_jax import cli, files
from fer_jax.errors import InputError


def test_the_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_names_the_file_that_was_to_be(tmp_path, capsys):
    def main():
        with files.replacing(tmp_path / "table.csv") as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_text("a row\n")

    assert cli.run(main) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'table.csv'}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "must be JSON"),
        (b'{"a": ', "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[]", "a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, content, rule):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"run\.json: must be .*{rule.split()[-1]}"):
        files.read_json(path)


def test_space_is_judged_by_what_is_free(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    files.require_space(tmp_path, free // 2)
    with pytest.raises(InputError, match="of free disk space, has"):
        files.require_space(tmp_path, 2 * free)


def test_the_files_of_a_folder_appear_together_in_place_of_earlier_ones(tmp_path):
    folder = tmp_path / "new" / "out"
    with files.appearing_in(folder) as work:
        (work / "a").write_text("first")
        assert not folder.exists()
    with files.appearing_in(folder, [folder / "a"]) as work:
        (work / "b").write_text("second")
        assert [path.name for path in folder.iterdir() if path != work] == ["a"]
    assert [path.name for path in folder.iterdir()] == ["b"]


def test_of_a_folder_that_fails_nothing_appears(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(ValueError, match="late"), files.appearing_in(folder) as work:
        (work / "a").touch()
        raise ValueError("late")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_waits_until_all_files_have_moved(usual_signals, tmp_path, monkeypatch):
    earlier = [tmp_path / "b", tmp_path / "c"]
    for path in earlier:
        path.write_text("old")
    replace = Path.replace

    def interrupted(self, target):
        signal.raise_signal(signal.SIGINT)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), files.appearing_in(tmp_path, earlier) as work:
        for name in "ab":
            (work / name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

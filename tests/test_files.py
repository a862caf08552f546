import shutil

import pytest

from fer_jax import files
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


def test_space_is_judged_by_what_is_free(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    files.require_space(tmp_path, free // 2)
    with pytest.raises(InputError, match="of free disk space, has"):
        files.require_space(tmp_path, 2 * free)

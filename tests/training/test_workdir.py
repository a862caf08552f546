import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.errors import InputError
from fer_jax.training.workdir import KEPT, Checkpoints


def tree(seed):
    key = jax.random.key(seed)
    return {"weights": jax.random.normal(key, (3, 2)), "count": jnp.int32(seed), "key": key}


def test_the_newest_comes_back_bit_for_bit_and_old_ones_go(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        for epoch in (1, 2, 3, 4):
            checkpoints.save(epoch, tree(epoch))
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest == 4
        restored = checkpoints.restore(tree(0))
    expected = tree(4)
    np.testing.assert_array_equal(restored["weights"], expected["weights"])
    assert restored["count"] == 4
    np.testing.assert_array_equal(
        jax.random.key_data(restored["key"]), jax.random.key_data(expected["key"])
    )
    assert len([p for p in (tmp_path / "c").iterdir() if p.is_dir()]) == KEPT


def test_an_empty_folder_gives_the_tree_back(tmp_path):
    fresh = tree(0)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest is None
        assert checkpoints.restore(fresh) is fresh


def test_another_structure_is_refused(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, tree(1))
        with pytest.raises(InputError, match="cannot restore the checkpoint of epoch 1"):
            checkpoints.restore({"other": jnp.zeros(3)})


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, tree(1))
    for path in (tmp_path / "c" / "1").rglob("*"):
        if path.is_file() and path.stat().st_size > 100 and "METADATA" not in path.name:
            path.write_bytes(path.read_bytes()[:50])
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        pytest.raises(InputError, match="cannot restore"),
    ):
        checkpoints.restore(tree(0))


def test_a_failed_write_is_said_in_one_line_and_keeps_the_older_one(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, tree(1))

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._checkpointer, "save", fail)
        with pytest.raises(
            InputError, match=r"cannot save the checkpoint of epoch 2: .*No space left"
        ) as caught:
            checkpoints.save(2, tree(2))
        assert "\n" not in str(caught.value)
        assert checkpoints.restore(tree(0))["count"] == 1


def test_a_damaged_checkpoint_of_many_arrays_is_refused_without_a_traceback(tmp_path):
    """orbax reads concurrently and gives up at the first failure: the other reads end, and fail,
    later.
    """
    code = (
        "import sys, jax.numpy as jnp\n"
        "from fer_jax.training.workdir import Checkpoints\n"
        "from fer_jax.errors import InputError\n"
        "tree = {str(i): jnp.ones((50, 50)) for i in range(20)}\n"
        "with Checkpoints(sys.argv[1]) as checkpoints:\n"
        "    checkpoints.save(1, tree)\n"
        "for path in checkpoints.directory.rglob('*'):\n"
        "    if path.is_file() and path.stat().st_size > 100 and 'METADATA' not in path.name:\n"
        "        path.write_bytes(path.read_bytes()[:50])\n"
        "try:\n"
        "    Checkpoints(sys.argv[1]).restore(tree)\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("cannot restore the checkpoint of epoch 1") == 1
    assert done.stderr == ""

"""A run's folder: one process at a time, and one run ever; all else is an InputError.

with locked(workdir), Checkpoints(workdir / "checkpoints") as checkpoints:
    tree = checkpoints.restore(tree)
    checkpoints.save(epoch, tree)
"""

import gc
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from fer_jax import files
from fer_jax.config import Config, from_dict, to_dict
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.training.log import RUN

try:
    import fcntl

    _lock = lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except ImportError:  # Windows
    import msvcrt

    _lock = lambda file: msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore

KEPT = 2  # checkpoints


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keep other processes out of `workdir`; the lock ends with this process, however that ends."""
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("a") as file:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):  # the second on Windows
            rule = "another process is training there; give another --workdir"
            raise InputError(f"{workdir}: {rule}") from None
        except OSError:  # a file system that knows no locks keeps nobody out
            pass
        yield


def claim(workdir: Path, config: Config, resume: bool, digest: Digest, teachers: list[str]) -> None:
    """Record the config; a workdir with a run in it is only entered to resume that very run.

    That has the same config, the same `digest` of its data and the same sha256 of its teachers.
    """
    path, wanted = workdir / "config.json", to_dict(config)
    if path.exists():
        if not resume:
            rule = "give --resume to go on with it, or another --workdir"
            raise InputError(f"{workdir}: already holds a run; {rule}")
        earlier = _earlier(path)
        if keys := sorted(key for key in wanted if earlier[key] != wanted[key]):
            raise InputError(f"{path}: the run was started with other values of {', '.join(keys)}")
        if (workdir / RUN).exists():  # an epoch has ended
            _check_origin(workdir / RUN, digest, teachers, config.teachers)
    files.write_json(path, wanted)


def _earlier(path: Path) -> dict[str, Any]:
    """Read the config of the run before, with what was added since at its default."""
    values = files.read_json(path)
    try:
        return to_dict(from_dict(values))
    except InputError as error:  # it comes from another release
        raise InputError(f"{path}: {error}") from None


def _check_origin(path: Path, digest: Digest, hashes: list[str], teachers: tuple) -> None:
    metadata = files.read_json(path)
    if (before := Digest.parse(metadata.get("data_digest"))) != digest:
        known = f"sha256 {before.faces[:12]}..., now {digest.faces[:12]}..."
        raise InputError(f"{path}: the run was started on other data, {known}")
    if metadata.get("teachers_sha256", []) != hashes:
        now = ", ".join(teachers)
        raise InputError(f"{path}: the run was started with other teachers than {now} are now")


def has_checkpoint(directory: Path) -> bool:
    """Whether a complete checkpoint lies in `directory`."""
    return any(path.name.isdigit() for path in directory.glob("*"))


class Checkpoints(AbstractContextManager):
    """The newest checkpoints of one run, by orbax: arrays only; leaving waits for writes."""

    def __init__(self, directory: Path):
        self.directory = Path(directory).absolute()  # orbax refuses relative paths
        newest: Any = ocp.training.preservation_policies.LatestN(KEPT)
        self._checkpointer = ocp.training.Checkpointer(
            str(self.directory), preservation_policy=newest, cleanup_tmp_directories=True
        )

    def __exit__(self, *_: Any) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """The epoch of the newest complete checkpoint."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, epoch: int, tree: Any) -> None:
        """Write `tree` (arrays and PRNG keys); where it cannot be written, older ones stay."""
        try:
            self._checkpointer.save(epoch, tree)
        # tensorstore wraps "no space left" in ValueError
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed("save", epoch, error) from None

    def restore(self, tree: Any) -> Any:
        """Return the newest, in the structure, shapes and types of `tree`; without one, `tree`."""
        epoch = self.latest
        if epoch is None:
            return tree
        shapes = jax.tree.map(ocp.arrays.to_shape_dtype_struct, tree)
        try:
            with _late_reads_kept_quiet():
                return self._checkpointer.load(epoch, shapes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            failed = self._failed("restore", epoch, error)
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            # coroutines that orbax made and will never await: they would complain later, anywhere
            gc.collect()
        raise failed

    def _failed(self, verb: str, epoch: int, error: Exception) -> InputError:
        rule = f"cannot {verb} the checkpoint of epoch {epoch}"
        return InputError(f"{self.directory}: {rule}: {' '.join(str(error).split())[:200]}")


@contextmanager
def _late_reads_kept_quiet() -> Iterator[None]:
    """Say nothing about the other arrays once one could not be read, now or after the block.

    orbax closes its event loop at the first failure. Each read that ends later would log an
    unretrieved exception or find the loop closed: a traceback each time.
    """
    usual, log = sys.unraisablehook, logging.getLogger("asyncio")

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            usual(unraisable)

    keep = lambda record: "exception was never retrieved" not in record.getMessage()
    sys.unraisablehook = hook
    log.addFilter(keep)
    yield  # not in a `try`: after a failure they stay quiet
    sys.unraisablehook = usual
    log.removeFilter(keep)

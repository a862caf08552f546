"""Training checkpoints by orbax: arrays only, each renamed to its place when it is complete.

with Checkpoints(workdir / "checkpoints") as checkpoints:
    tree = checkpoints.restore(tree)     # the newest, or `tree` itself if there is none
    checkpoints.save(epoch, tree)
"""

import gc
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from fer_jax.errors import InputError

Tree = TypeVar("Tree")
KEPT = 2


def exists(directory: Path) -> bool:
    """Whether a complete checkpoint lies in `directory`."""
    return any(path.name.isdigit() for path in directory.glob("*"))


class Checkpoints:
    """The newest checkpoints of one run, by epoch; leaving the context waits for writes."""

    def __init__(self, directory: Path):
        self.directory = Path(directory).absolute()  # orbax refuses relative paths
        self._checkpointer = ocp.training.Checkpointer(
            str(self.directory),
            preservation_policy=ocp.training.preservation_policies.LatestN(KEPT),  # pyright: ignore[reportArgumentType]
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """The epoch of the newest complete checkpoint."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, epoch: int, tree: Any) -> None:
        """Write `tree` (arrays and PRNG keys).

        Raises:
            InputError: it cannot be written, for example because the disk is full; older
                checkpoints stay.
        """
        try:
            self._checkpointer.save(epoch, tree)
        # tensorstore wraps "no space left" in ValueError
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            rule = f"cannot save the checkpoint of epoch {epoch}"
            raise InputError(f"{self.directory}: {rule}: {reason}") from None

    def restore(self, tree: Tree) -> Tree:
        """Return the newest checkpoint, in the structure, shapes and types of `tree`.

        Raises:
            InputError: it is damaged or was written by another model or optimiser.
        """
        epoch = self.latest
        if epoch is None:
            return tree
        shapes = jax.tree.map(ocp.arrays.to_shape_dtype_struct, tree)
        try:
            with _late_reads_kept_quiet():
                return self._checkpointer.load(epoch, shapes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            # coroutines that orbax made and will never await: they would complain later, anywhere
            gc.collect()
        rule = f"cannot restore the checkpoint of epoch {epoch}"
        raise InputError(f"{self.directory}: {rule}: {reason}")


@contextmanager
def _late_reads_kept_quiet() -> Iterator[None]:
    """Say nothing about the other arrays once one could not be read, now or after the block.

    orbax reads them concurrently and closes its event loop at the first failure. Each read that
    ends later reports an unretrieved exception to asyncio's log, or finds the loop closed and
    reaches `sys.unraisablehook`: a traceback each time.
    """
    previous, log = sys.unraisablehook, logging.getLogger("asyncio")

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    def keep(record: logging.LogRecord) -> bool:
        return "exception was never retrieved" not in record.getMessage()

    sys.unraisablehook = hook
    log.addFilter(keep)
    yield
    sys.unraisablehook = previous
    log.removeFilter(keep)

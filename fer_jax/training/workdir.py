"""A run's folder: one process at a time, and one run ever."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fer_jax import config as configs
from fer_jax import files
from fer_jax.config import Config
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.training.log import RUN

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keep other processes out of `workdir`; the lock ends with this process, however that ends.

    Raises:
        InputError: another process is training there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("a") as file:
        if not _lock(file):
            raise InputError(
                f"{workdir}: another process is training there; give another --workdir"
            )
        yield


def _lock(file: IO[str]) -> bool:
    """Whether nobody else has the lock. A file system that knows no locks keeps nobody out."""
    if fcntl is None:
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def claim(workdir: Path, config: Config, resume: bool, digest: Digest, teachers: list[str]) -> None:
    """Record the config; a workdir with a run in it is only entered to resume that very run.

    Args:
        digest: of the data.
        teachers: the sha256 of each.

    Raises:
        InputError: it holds another run, or `resume` is not wanted.
    """
    path, wanted = workdir / "config.json", configs.to_dict(config)
    if path.exists():
        if not resume:
            rule = "give --resume to go on with it, or another --workdir"
            raise InputError(f"{workdir}: already holds a run; {rule}")
        # with what was added since, at its default
        earlier = configs.to_dict(configs.from_dict(files.read_json(path)))
        if keys := sorted(key for key in wanted if earlier[key] != wanted[key]):
            raise InputError(f"{path}: the run was started with other values of {', '.join(keys)}")
        _check_origin(workdir / RUN, config, digest, teachers)
    files.write_json(path, wanted)


def _check_origin(path: Path, config: Config, digest: Digest, teachers: list[str]) -> None:
    if not path.exists():  # no epoch has ended yet
        return
    metadata = files.read_json(path)
    if (before := Digest.parse(metadata.get("data_digest"))) != digest:
        hashes = f"sha256 {before.faces[:12]}..., now {digest.faces[:12]}..."
        raise InputError(f"{path}: the run was started on other data, {hashes}")
    if metadata.get("teachers_sha256", []) != teachers:
        now = ", ".join(config.teachers)
        raise InputError(f"{path}: the run was started with other teachers than {now} are now")

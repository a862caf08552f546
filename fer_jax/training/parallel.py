"""Every device takes its share of each batch; several processes train as one computer.

state = devices.replicate(state)                    # the same on every device
state, loss = step(state, devices.split(rows))      # each device has its part of the rows

A jitted function means the same whatever the number of devices: sums over a batch, those of batch
norm included, go over all of it. Only their order, and so the rounding, depends on the devices.
"""

import re
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fer_jax.errors import InputError


def join(coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several that share their devices, before anything else uses jax."""
    if not re.fullmatch(r".+:\d+", coordinator):
        raise InputError(f"coordinator must be HOST:PORT, received {coordinator!r}")
    if not 0 <= process < processes:
        raise InputError(f"process must be a number from 0 to {processes - 1}, received {process}")
    jax.distributed.initialize(coordinator, processes, process)


class Devices:
    """All devices of all processes, in a row."""

    def __init__(self):
        mesh = Mesh(np.array(jax.devices()), ("batch",))
        self.count = mesh.size
        self.leads = jax.process_index() == 0  # the process that prints and writes
        self.everywhere = NamedSharding(mesh, PartitionSpec())
        self.by_rows = NamedSharding(mesh, PartitionSpec("batch"))
        # one function: each would compile anew
        self._copy = jax.jit(lambda tree: tree, out_shardings=self.everywhere)

    def replicate(self, tree: Any) -> Any:
        """Return the arrays in `tree`, equal in every process, as all devices hold them whole."""
        return self._copy(tree)

    def split(self, rows: np.ndarray) -> jax.Array:
        """Return `rows`, equal in every process, spread over devices: a multiple of `count`."""
        return jax.make_array_from_callback(rows.shape, self.by_rows, lambda index: rows[index])

    def agree(self, ready: bool) -> bool:
        """Whether process 0 is ready; every process waits here for its answer."""
        return bool(multihost_utils.broadcast_one_to_all(np.bool_(ready)))

"""Members computed side by side: one compiled program, run for every member on all cores or devices.

A member's own arrays are small. On one core they stay in its cache, and products of small matrices gain little from a
second core; so each core takes another member. A member is computed by the same program in one thread wherever it
runs: results do not depend on the number of cores or devices.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import jax
import numpy as np

Found = TypeVar("Found")
Value = TypeVar("Value")
Tree = TypeVar("Tree")


class Program(Generic[Found]):
    """A function of what all members share and of one member's arrays, compiled once per device and kinds of arguments."""

    def __init__(self, function: Callable[..., Found]) -> None:
        self._jitted = jax.jit(function, compiler_options={"xla_cpu_multi_thread_eigen": False})
        self._compiled: dict[Any, Callable[..., Found]] = {}

    def on(self, device: jax.Device, arguments: tuple[Any, ...]) -> Callable[..., Found]:
        """The compiled program for arguments like these, whose shapes are the same for all members."""
        leaves, structure = jax.tree.flatten(arguments)
        key = device, structure, tuple(np.shape(leaf) for leaf in leaves)
        if key not in self._compiled:
            self._compiled[key] = self._jitted.lower(*jax.device_put(arguments, device)).compile()
        return self._compiled[key]


class Parallel:
    """Where members are computed: every device, and every core of a processor."""

    def __init__(self) -> None:
        devices = jax.local_devices()
        count = max(len(devices), cores()) if devices[0].platform == "cpu" else len(devices)
        self.devices = [devices[i % len(devices)] for i in range(count)]

    def share(self, value: Value) -> dict[jax.Device, Value]:
        """A copy on each device; cores have one between them."""
        return {device: jax.device_put(value, device) for device in self.devices}

    def map(self, program: Program[Found], shared: dict[jax.Device, Any], *members: Sequence[Any]) -> list[Found]:
        """``program(shared, *member)`` of every member, as NumPy arrays."""
        each = list(zip(*members, strict=True))
        compiled = {device: program.on(device, (value, *each[0])) for device, value in shared.items()}
        free: SimpleQueue[jax.Device] = SimpleQueue()
        for device in self.devices:
            free.put(device)

        def run(member: tuple[Any, ...]) -> Found:
            device = free.get()
            try:
                return jax.device_get(compiled[device](shared[device], *jax.device_put(member, device)))
            finally:
                free.put(device)

        pool = ThreadPoolExecutor(len(self.devices))
        try:
            return list(pool.map(run, each))
        finally:
            pool.shutdown(cancel_futures=True)  # where one has failed or the user has stopped it


def stack(trees: Sequence[Tree]) -> Tree:
    """Members' trees of arrays as one tree with a leading member axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def unstack(tree: Tree) -> list[Tree]:
    """The reverse of `stack`."""
    return [jax.tree.map(lambda a, i=i: a[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

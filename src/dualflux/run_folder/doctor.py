"""What is installed and what the machine has: the first thing to look at, and to send along, when something does not work."""

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from dualflux import __version__

EXTRAS = {
    "gpu": "training on an NVIDIA GPU",
    "compressed": "NetCDF files that were compressed with other filters than NetCDF's own",
    "scale": "grids larger than memory, clusters",
    "regions": "regions from polygons",
    "bench": "benchmarks",
    "test": "tests",
    "docs": "documentation",
}
SETTINGS = ("JAX_PLATFORMS", "XLA_FLAGS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "DUALFLUX_DATA")
_OWN_GROUPS = Path("/proc/self/cgroup")
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

Versions = Callable[[str], str | None]


class Finding(NamedTuple):
    """One required distribution.

    Attributes
    ----------
    requirement : Requirement
    found : str or None
        The version that is there.
    """

    requirement: Requirement
    found: str | None

    @property
    def good(self) -> bool:
        """Whether it is there and not too old."""
        return self.found is not None and self.requirement.specifier.contains(self.found, prereleases=True)

    def __str__(self) -> str:
        state = "" if self.good else ": missing" if self.found is None else ": too old"
        return f"{self.requirement.name} {self.found or '-'} (needs {self.requirement.specifier or 'any version'}){state}"


def version_of(name: str) -> str | None:
    """The installed version of a distribution, None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def findings(requirements: list[str], extra: str = "", versions: Versions = version_of) -> list[Finding]:
    """State of the requirements that an installation, or one of its extras, has.

    Parameters
    ----------
    requirements : list of str
        As `importlib.metadata.requires` gives them.
    extra : str
        Only what this extra adds; nothing for the core.
    versions : callable
        Installed version of a name, or None.

    Examples
    --------
    >>> found = findings(["numpy>=1.26", 'dask>=2024; extra == "scale"'], versions={"numpy": "1.25"}.get)
    >>> [str(one) for one in found]
    ['numpy 1.25 (needs >=1.26): too old']
    """
    parsed = [Requirement(text) for text in requirements]
    return [Finding(one, versions(one.name)) for one in parsed if _belongs(one, extra)]


def _belongs(one: Requirement, extra: str) -> bool:
    if one.marker is None:
        return not extra
    without = one.marker.evaluate({"extra": ""})
    return without if not extra else one.marker.evaluate({"extra": extra}) and not without


def missing_of_extra(requirements: list[str], extra: str, versions: Versions = version_of) -> list[str]:
    """Names of what an extra still needs; `jax[cuda13]` needs what the extra `cuda13` of jax needs."""
    missing = []
    for one in findings(requirements, extra, versions):
        missing += [] if one.good else [one.requirement.name]
        if one.found is not None and one.requirement.extras:
            inner = metadata.requires(one.requirement.name) or []
            missing += [name for inner_extra in sorted(one.requirement.extras) for name in missing_of_extra(inner, inner_extra, versions)]
    return missing


def examine(folder: Path) -> tuple[list[str], list[str]]:
    """Look at the installation and the machine.

    Parameters
    ----------
    folder : Path
        Where results would be written; its disk is looked at.

    Returns
    -------
    lines, problems : lists of str
        What was found; what must be mended before dualflux can run.
    """
    installed = version_of("dualflux") is not None
    requirements = (metadata.requires("dualflux") or []) if installed else []
    core = findings(requirements)
    problems = [] if installed else [f"dualflux runs from {Path(__file__).parent} but is not installed; pip install -e its repository"]
    problems += [f"{one}; repair it with: pip install '{_plain(one.requirement)}'" for one in core if not one.good]
    lines = [f"dualflux {__version__} in {Path(__file__).parent}", f"Python {platform.python_version()}, {platform.platform()}"]
    lines += ["", "dependencies", *(f"  {one}" for one in core)]
    lines += ["", "extras", *(f"  {line}" for line in _extra_lines(requirements))]
    return [*lines, "", "machine", *(f"  {line}" for line in _machine_lines(folder))], problems


def _plain(one: Requirement) -> str:
    return f"{one.name}{one.specifier}"


def _extra_lines(requirements: list[str]) -> Iterator[str]:
    for extra, purpose in EXTRAS.items():
        missing = missing_of_extra(requirements, extra)
        state = f"without {', '.join(missing)}; pip install 'dualflux[{extra}]'" if missing else "there"
        yield f"{extra} ({purpose}): {state}"


def _machine_lines(folder: Path) -> Iterator[str]:
    yield from device_lines()
    yield f"cores: {usable_cores()} usable of {os.cpu_count()}"
    yield f"memory: {_gigabytes(usable_memory())}"
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    disk = shutil.disk_usage(existing)
    yield f"disk of {existing}: {_gigabytes(disk.free)} free of {_gigabytes(disk.total)}"
    yield from (f"environment: {name}={os.environ[name]}" for name in SETTINGS if name in os.environ)


def device_lines() -> Iterator[str]:
    """JAX's devices with their memory; what JAX says where it cannot start them."""
    if version_of("jax") is None:
        yield "devices: unknown without jax"
        return
    jax = importlib.import_module("jax")
    try:
        devices = jax.devices()
    except RuntimeError as error:
        yield f"devices: JAX cannot start them: {' '.join(str(error).split())}"
        return
    for one in devices:
        memory = (one.memory_stats() or {}).get("bytes_limit")
        yield f"device: {one.device_kind} ({one.platform}){f', {_gigabytes(memory)}' if memory else ''}"


def usable_cores() -> int:
    """Cores this process may run on: a batch system gives fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int:
    """Memory of the machine, or of the job where its control group has a limit [bytes]."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [path.read_text().strip() for path in (*_CGROUP_LIMITS, *_limits_of_own_group()) if path.is_file()]
    return min([machine, *(int(limit) for limit in limits if limit.isdigit())])


def _limits_of_own_group() -> Iterator[Path]:
    """Limits of this process's control group and of those that hold it: a batch system puts each job into one of its own."""
    if not _OWN_GROUPS.is_file():
        return
    for line in _OWN_GROUPS.read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers in ("", "memory"):
            limit = _CGROUP_LIMITS[-1 if controllers else 0]
            inside = Path(place.lstrip("/"))
            yield from (limit.parent / folder / limit.name for folder in (inside, *inside.parents))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

"""What several tests share: data, a finished small study, compiled programs, and a guard against the network."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Small matrices: threads of the linear algebra would only wait for each other, and for those of the other workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A loaded machine is no defect; and CI tries the same examples each time: the search for others is the benchmarks' and the developers'.
hypothesis.settings.register_profile("dualflux", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("dualflux")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped, saying so, where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"shared data absent: {SHARED / 'data'}")
    return SHARED / "data"


@pytest.fixture(name="shared_data")
def _shared_data() -> Path:
    return shared_data()


# --- compiled programs ---

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """Programs are compiled once in a session: workers and the processes they start inherit the folder."""
    if CACHE not in os.environ:
        folder = tempfile.mkdtemp(prefix="dualflux-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop(CACHE, None))
        os.environ[CACHE] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")  # keeping one costs some hundredths


def on_its_own() -> dict[str, str]:
    """The environment of a process that compiles for itself and has all threads: for claims about cores."""
    return {name: value for name, value in os.environ.items() if name not in (CACHE, "OPENBLAS_NUM_THREADS")}


# --- a finished study ---

IN_A_CHILD = """
import sys
sys.path.insert(0, {tests!r})
import conftest
conftest.refuse_network()
from dualflux.cli import main
sys.exit(main(["check", sys.argv[1]]) or main(["run", sys.argv[1], "--out", sys.argv[2]]))
"""


@pytest.fixture(scope="session", name="tiny_run")
def _tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small study, made once in a session: read it, and copy it (`copied_run`) to change it.

    It stands in ``runs/demo``, as `dualflux demo` leaves it, with its world and study file in ``world``. Checked and run without a network:
    every connection is refused, and where the system allows it the process is in a network of its own that has no way out.
    """
    return once(tmp_path_factory, "tiny world ä", run_tiny_study) / "runs/demo"


def run_tiny_study(folder: Path) -> None:
    """World, `check` and all stages of the command line, in a process of its own."""
    from tiny_study import write_tiny_study

    out = folder / "runs/demo"
    study = write_tiny_study(out / "world", holdout={"years": [2003, 2003]})
    alone = shutil.which("unshare")
    apart = [alone, "-rn"] if alone and subprocess.run([alone, "-rn", "true"], capture_output=True, check=False).returncode == 0 else []
    command = [*apart, sys.executable, "-c", IN_A_CHILD.format(tests=str(Path(__file__).parent)), str(study), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the small study ended with status {done.returncode}:\n{done.stdout}\n{done.stderr}")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of all workers fills while the others wait."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with open(base / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(name="copied_run")
def _copied_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished small study, to be changed."""
    return Path(shutil.copytree(tiny_run, tmp_path / "copied"))


# --- the network ---


class NetworkUseError(RuntimeError):
    """Something reached for the network."""


def refuse_network() -> None:
    """From now on this process connects to itself and its neighbours on this machine only; see test_network.py."""
    here = (None, "", "localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo" and arguments[0] not in here:
            raise NetworkUseError(f"network use: {arguments[0]} is looked up")
        if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple) and arguments[1][0] not in here:
            raise NetworkUseError(f"network use: {arguments[1]} is connected to")

    sys.addaudithook(hook)


refuse_network()  # no test needs the network either

"""Nothing at run time reaches for the network: a whole study runs where every connection is refused."""

import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from conftest import NetworkUseError

GUARDED = """
import sys
sys.path.insert(0, {tests!r})
import conftest
conftest.refuse_network()
from dualflux.cli import main
sys.exit(main(["check", sys.argv[1]]) or main(["run", sys.argv[1], "--out", sys.argv[2]]))
"""


@pytest.mark.parametrize("host", ["example.org", "192.0.2.1", "2001:db8::1"])
def test_the_guard_refuses_names_and_addresses(host: str) -> None:
    """Documentation's own names and addresses (RFC 2606, 5737, 3849)."""
    with pytest.raises(NetworkUseError, match="network"):
        socket.create_connection((host, 80), timeout=1)


def test_the_guard_refuses_downloads() -> None:
    with pytest.raises(NetworkUseError):
        urllib.request.urlopen("http://example.org/", timeout=1)


def test_processes_of_one_machine_may_talk() -> None:
    """What event loops and local clusters use."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname(), timeout=5):
            pass
    socket.socketpair()[0].close()


def test_a_whole_study_runs_without_a_network(tmp_path: Path) -> None:
    """From `check` to the report; where the system allows it, in a network of its own that has no way out, C libraries included."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    from fault_study import write_small_world

    write_small_world(tmp_path / "world")
    alone = shutil.which("unshare")
    apart = [alone, "-rn"] if alone and subprocess.run([alone, "-rn", "true"], capture_output=True, check=False).returncode == 0 else []
    code = GUARDED.format(tests=str(Path(__file__).parent))
    arguments = [*apart, sys.executable, "-c", code, str(tmp_path / "world/study.yaml"), str(tmp_path / "run")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/report.html").is_file()

"""Nothing at run time reaches for the network: a whole study runs where every connection is refused."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from conftest import IN_A_CHILD, NetworkUseError


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


def test_a_whole_study_runs_without_a_network(tiny_run: Path) -> None:
    """From `check` to the report: the small study of all tests was made where every connection is refused, see conftest.py."""
    assert (tiny_run / "report.html").is_file()


def test_the_process_of_that_study_has_no_network() -> None:
    """The same lines before the command line is reached: a look-up is refused."""
    code = (
        IN_A_CHILD.format(tests=str(Path(__file__).parent)).split("from dualflux")[0]
        + "import socket; socket.create_connection(('example.org', 80))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "NetworkUseError" in done.stderr

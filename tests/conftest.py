"""What several tests share."""

import os
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest

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

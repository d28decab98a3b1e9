"""What several tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped, saying so, where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"shared data absent: {SHARED / 'data'}")
    return SHARED / "data"


@pytest.fixture(name="shared_data")
def _shared_data() -> Path:
    return shared_data()

"""Points and distances on the sphere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflux.geometry.sphere import angle_of, great_circle, unit_vectors

LATITUDE, LONGITUDE = st.floats(-90, 90), st.floats(-360, 360)


def test_axes() -> None:
    """0 N 0 E, 0 N 90 E, the south pole from anywhere."""
    found = unit_vectors(np.array([0.0, 0.0, -90.0]), np.array([0.0, 90.0, 12.3]))
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 1, 0], [0, 0, -1]], atol=1e-15)


@given(LATITUDE, LONGITUDE, LATITUDE, LONGITUDE)
def test_both_ways_to_measure_agree(lat: float, lon: float, lat0: float, lon0: float) -> None:
    """The arc cosine loses half the digits near 0 and 180 degrees."""
    dot = unit_vectors(np.array(lat), np.array(lon)) @ unit_vectors(np.array(lat0), np.array(lon0))
    assert float(angle_of(dot)) == pytest.approx(float(great_circle(np.array(lat), np.array(lon), lat0, lon0)), abs=5e-8)


def test_small_angles_are_kept() -> None:
    """A millimetre on the Earth, north and across the date line at 60 N, where a degree of longitude is half as long."""
    tiny = 1e-8
    north = great_circle(np.array(60.0), np.array(0.0), 60.0 + tiny, 0.0)
    across = great_circle(np.array(60.0), np.array(180.0 - tiny), 60.0, -180.0 + tiny)
    assert float(np.degrees(north)) == pytest.approx(tiny, rel=1e-5) and float(np.degrees(across)) == pytest.approx(tiny, rel=1e-5)


def test_a_dot_product_beyond_one_is_no_angle() -> None:
    np.testing.assert_array_equal(angle_of(np.array([1 + 1e-15, -1 - 1e-15])), [0, np.pi])

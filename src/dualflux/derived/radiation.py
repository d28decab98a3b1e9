"""Radiation at the top of the atmosphere, from latitude and day alone."""

import numpy as np

SOLAR_CONSTANT = 1361.0  # W m-2; Kopp and Lean 2011, GRL 38, L01706


def potential_radiation(lat: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    """Daily mean radiation at the top of the atmosphere [W m-2], (day, lat).

    Declination and Sun-Earth distance after Spencer (1971), Search 2(5), 172; daily integral of the cosine of the zenith angle.
    """
    angle = 2 * np.pi * (np.asarray(day_of_year)[:, None] - 1) / 365.2425
    declination = (
        0.006918 - 0.399912 * np.cos(angle) + 0.070257 * np.sin(angle) - 0.006758 * np.cos(2 * angle)
        + 0.000907 * np.sin(2 * angle) - 0.002697 * np.cos(3 * angle) + 0.00148 * np.sin(3 * angle)
    )  # fmt: skip
    distance = 1.00011 + 0.034221 * np.cos(angle) + 0.00128 * np.sin(angle) + 0.000719 * np.cos(2 * angle) + 0.000077 * np.sin(2 * angle)
    phi = np.radians(np.asarray(lat))[None]
    sunset = np.arccos(np.clip(-np.tan(np.clip(phi, -1.5707, 1.5707)) * np.tan(declination), -1, 1))
    integral = sunset * np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    return SOLAR_CONSTANT / np.pi * distance * integral

"""What to cite for the method."""

CITATIONS = (
    "Upton, S., et al. (2024): Constraining biospheric carbon dioxide fluxes by combined top-down and bottom-up approaches, "
    "Atmos. Chem. Phys. 24, 2555-2582, doi:10.5194/acp-24-2555-2024",
)

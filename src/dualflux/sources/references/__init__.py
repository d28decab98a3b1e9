"""Flux products to compare with: gridded files and regional tables as monthly regional integrals and maps."""

from dualflux.sources.references.maps import ReferenceMonth, reference_maps, reference_steps
from dualflux.sources.references.read import read_references
from dualflux.sources.references.settings import FluxcomReference, GriddedReference, ReferenceSource, TableReference, XBaseReference

__all__ = [
    "FluxcomReference",
    "GriddedReference",
    "ReferenceMonth",
    "ReferenceSource",
    "TableReference",
    "XBaseReference",
    "read_references",
    "reference_maps",
    "reference_steps",
]

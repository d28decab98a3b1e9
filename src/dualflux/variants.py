"""Named sets of constraints and terms: what a variant is trained on, said once."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

ConstraintName = Literal["towers", "inversions"]
RESERVED = ("target", "truth", "global", "left_out", "climatology", "nino")  # products and folders of other meaning
ANALYSIS = "_analysis"  # a variant's second layer: the fitted years as the atmosphere had them


class Variant(BaseModel):
    """What a variant is trained on and which terms it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    constraints: tuple[ConstraintName, ...] = Field(min_length=1, description="what it is trained on")
    representativeness: bool = Field(False, description="g: how towers stand out of their landscape; needs towers")
    site_effects: bool = Field(
        False,
        description="of no effect since towers have errors in parts: every variant with towers has b; `tower_term` takes it out of all",
    )

    @field_validator("constraints")
    @classmethod
    def _once_each(cls, constraints: tuple[ConstraintName, ...]) -> tuple[ConstraintName, ...]:
        if len(set(constraints)) < len(constraints):
            raise ValueError(f"{', '.join(constraints)}: name each constraint once")
        return constraints

    @model_validator(mode="after")
    def _terms_need_towers(self) -> "Variant":
        asked = [name for name in ("representativeness", "site_effects") if getattr(self, name)]
        if asked and not self.towers:
            raise ValueError(
                f"{' and '.join(asked)} stand between towers and their landscape; add towers to `constraints` or leave them out"
            )
        return self

    @property
    def towers(self) -> bool:
        """Whether towers are among its constraints: then folds of sites are kept from its members."""
        return "towers" in self.constraints


VARIANTS = {
    "towers": Variant(constraints=("towers",), site_effects=True),
    "inversions": Variant(constraints=("inversions",)),
    "plain": Variant(constraints=("towers", "inversions")),
    "dual": Variant(constraints=("towers", "inversions"), representativeness=True, site_effects=True),
}


def _from_names(value: Any) -> Any:
    """A list of built-in names stands for what they mean."""
    if not isinstance(value, list):
        return value
    if unknown := [str(name) for name in value if not isinstance(name, str) or name not in VARIANTS]:
        raise ValueError(f"{', '.join(unknown)}: allowed in a list: {', '.join(VARIANTS)}; define others as NAME: {{constraints: [...]}}")
    if len(set(value)) < len(value):
        raise ValueError(f"{', '.join(value)}: name each variant once")
    return {name: VARIANTS[name] for name in value}


def _well_named(variants: dict[str, Variant]) -> dict[str, Variant]:
    for name, variant in variants.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or name in RESERVED or name.endswith(ANALYSIS):
            raise ValueError(
                f"{name}: a variant's name becomes a folder and a product: letters, digits, `_`, `-`; not {', '.join(RESERVED)}, "
                f"and not ending in {ANALYSIS}"
            )
        if name in VARIANTS and variant != VARIANTS[name]:
            raise ValueError(f"{name} is built in and means something else; choose another name")
    return variants


_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"enum": list(VARIANTS)}, "minItems": 1},
        {"type": "object", "additionalProperties": Variant.model_json_schema(), "minProperties": 1},
    ],
    "description": "names of built-in variants, or NAME: {constraints, representativeness, site_effects}; default: all built-in ones "
    "that the study's sources allow",
}
Variants = Annotated[
    dict[str, Variant], Field(min_length=1), BeforeValidator(_from_names), AfterValidator(_well_named), WithJsonSchema(_SCHEMA)
]


def possible(constraints: Sequence[str]) -> dict[str, Variant]:
    """The built-in variants that a study with these constraints can have.

    >>> list(possible(["towers"]))
    ['towers']
    """
    return {name: variant for name, variant in VARIANTS.items() if set(variant.constraints) <= set(constraints)}


def ordered(names: Iterable[str]) -> list[str]:
    """Names of variants in their usual order: built-in ones first, then the study's own as they come.

    >>> ordered(["mine", "dual", "towers"])
    ['towers', 'dual', 'mine']
    """
    there = list(dict.fromkeys(names))
    usual = [name for v in VARIANTS for name in (v, f"{v}{ANALYSIS}")]
    return [v for v in usual if v in there] + [v for v in there if v not in usual]


def shown_variant(names: Iterable[str]) -> str:
    """The one that tables of a single product show: `dual`, else the last.

    >>> shown_variant(["dual", "mine"]), shown_variant(["towers", "plain"])
    ('dual', 'plain')
    """
    there = ordered(n for n in names if not n.endswith(ANALYSIS))
    return "dual" if "dual" in there else there[-1]


def words(variant: Variant) -> str:
    """What a variant is trained on, for attributes and reports.

    >>> words(VARIANTS["dual"])
    'towers and inversions'
    """
    return " and ".join(variant.constraints)

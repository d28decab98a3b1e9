"""Named sets of constraints and terms: what a variant is trained on, said once."""

from typing import NamedTuple


class Variant(NamedTuple):
    """What a variant is trained on and which terms it has."""

    towers: bool
    inversions: bool
    representativeness: bool
    site_effects: bool


VARIANTS = {
    "towers": Variant(True, False, False, True),
    "inversions": Variant(False, True, False, False),
    "plain": Variant(True, True, False, False),
    "dual": Variant(True, True, True, True),
}

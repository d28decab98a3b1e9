"""What a prepared study observed, as data of its constraints."""

from dualflux.constraints.inversions.observations import Maker, constraint_maker
from dualflux.constraints.towers.observations import TowerConstraint, from_towers
from dualflux.prepared import Prepared
from dualflux.study.settings import Study


def tower_constraint(prepared: Prepared) -> TowerConstraint | None:
    """Towers; None where the study has none."""
    if prepared.observations.empty:
        return None
    fold = prepared.sites.fold.to_numpy()
    return from_towers(prepared.rows, prepared.observations, prepared.sites, fold)


def regional_maker(study: Study, prepared: Prepared) -> Maker | None:
    """How regional constraints are made; None where the study has no inversions."""
    s = study.settings
    if prepared.target is None:
        return None
    return constraint_maker(prepared.target, prepared.cube, prepared.cells, s.inversion_term, s.fitted)

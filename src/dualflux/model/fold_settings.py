"""Which sites members leave out, as a study says it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Design = Literal["groups", "continent", "climate", "distance"]


class FoldSettings(BaseModel):
    """Folds of groups of co-located sites."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(5, ge=2)
    by: Design = Field(
        "groups",
        description="what a fold is made of: single groups; `continent`: whole clusters of groups, as many as folds; `climate`: whole "
        "classes of a fractions predictor; `distance`: clusters so fine that left-out sites are as far from training sites as land is",
    )
    predictor: str | None = Field(
        None, description="of `climate`: a fractions predictor taken from the cells; default: the first that is not the sites' own class"
    )

    @model_validator(mode="after")
    def _predictor_of_climate(self) -> Self:
        if self.predictor is not None and self.by != "climate":
            raise ValueError(f"`predictor: {self.predictor}` goes with `by: climate`, not with `by: {self.by}`; remove one of them")
        return self

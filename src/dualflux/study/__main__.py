"""``python -m dualflux.study`` prints the JSON schema of a study file."""

from dualflux.study.settings import study_schema

print(study_schema(), end="")

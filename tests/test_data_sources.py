"""The study-file lines of docs/data_sources.md and of the starter study are valid, and no format is left out of the page."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter

from dualflux.sources.adjustments import AdjustmentSettings, check_target
from dualflux.sources.inversions import InversionSource
from dualflux.sources.predictors.settings import check_names
from dualflux.sources.references import ReferenceSource
from dualflux.sources.towers import TowerSource
from dualflux.study.settings import StudySettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("data_sources", "towers", "inversions")
STARTER = ROOT / "src/dualflux/data/starter_study.yaml"
FIELDS = StudySettings.model_fields
LISTS = {"towers": TowerSource, "inversions": InversionSource, "adjustments": AdjustmentSettings, "references": ReferenceSource}


def snippets(page: str) -> list[dict[str, Any]]:
    """The YAML blocks of a page; a key that stands several times in a block has several examples."""
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL):
        parts = re.split(r"^(?=\w+:)", block, flags=re.MULTILINE)
        found += [yaml.safe_load(part) for part in parts if part.strip()]
    return found


def validate(key: str, value: Any) -> Any:
    return TypeAdapter(FIELDS[key].rebuild_annotation()).validate_python(value)


@pytest.mark.parametrize("page", PAGES)
def test_each_line_for_a_study_file_is_one(page: str) -> None:
    found = snippets(page)
    assert found
    for snippet in found:
        for key, value in snippet.items():
            validate(key, value)


def formats(source: Any) -> set[str]:
    """Values of `format` that a source may have."""
    union, _ = get_args(source)
    return {get_args(one.model_fields["format"].annotation)[0] for one in get_args(union)}


@pytest.mark.parametrize("key", LISTS)
def test_each_format_is_shown(key: str) -> None:
    shown = {one["format"] for snippet in snippets("data_sources") for one in snippet.get(key, [])}
    commented = set(re.findall(r"# (?:or: |- ).*?format: (\w+)", (ROOT / "docs/data_sources.md").read_text(encoding="utf-8")))
    assert formats(LISTS[key]) <= shown | commented


def test_what_the_page_lists_may_stand_in_one_study() -> None:
    """The like-with-like rules accept the page's inversions and adjustments together, and its predictors have right names."""
    together = {key: value for snippet in snippets("data_sources") for key, value in snippet.items()}
    check_target("tower_nee", validate("inversions", together["inversions"]), validate("adjustments", together["adjustments"]))
    check_names(validate("predictors", together["predictors"]))


def test_each_alternative_of_the_starter_study_is_valid() -> None:
    """With its comments taken for lines the starter study is a study still, and it shows every format of every source."""
    text = STARTER.read_text(encoding="utf-8")
    active = yaml.safe_load(text)
    StudySettings.model_validate(active)
    for key, source in LISTS.items():
        section = re.search(rf"^(?:# )?{key}:.*?(?=^\w|\Z)", text, flags=re.MULTILINE | re.DOTALL)
        assert section is not None
        lines = re.findall(r"^ *(?:# )?- (\{.*?\}) *(?:#.*)?$", section[0], flags=re.MULTILINE)
        entries = [yaml.safe_load(line) for line in lines]
        validate(key, entries)
        assert {one["format"] for one in entries} == formats(source)
    for line in re.findall(r"^# (regions: .*?)(?:\s+#.*)?$", text, flags=re.MULTILINE):
        validate("regions", yaml.safe_load(line)["regions"])

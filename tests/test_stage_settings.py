"""A stage depends on the settings that it declares, and on the files of the program that it imports; on nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dualflux.cli import main
from dualflux.prepared import load
from dualflux.run_folder import program
from dualflux.run_folder.program import PACKAGE, program_of, source_files
from dualflux.stages.evaluate import study_budgets
from dualflux.stages.plan import DECLARED, NO_SETTING, STAGES, settings_of, stage_plan
from dualflux.study.part import PartOfMapping, UndeclaredSettingError
from dualflux.study.settings import Study, StudySettings, load_study


@pytest.fixture(scope="module", name="study")
def _study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("starter")
    main(["init", str(folder)])
    return load_study(folder / "study.yaml")


# --- settings ---


def test_every_key_of_the_study_stands_in_a_stage() -> None:
    """A key in no stage could change without any stage being redone."""
    declared = {key.partition(".")[0] for keys in DECLARED.values() for key in keys}
    assert declared | set(NO_SETTING) == set(StudySettings.model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_what_it_declares_and_nothing_else(study: Study, stage: str) -> None:
    own, first = settings_of(study, stage).settings, {key.partition(".")[0] for key in DECLARED[stage]}
    for key in StudySettings.model_fields:
        if key in DECLARED[stage]:
            assert getattr(own, key) == getattr(study.settings, key)
        elif key not in first:
            with pytest.raises(UndeclaredSettingError, match=f"`{key}` is read by a stage that does not declare it"):
                getattr(own, key)
    assert isinstance(own, StudySettings) and set(study.part(*DECLARED[stage])) == set(DECLARED[stage])


def test_one_of_several_settings_hides_the_others(study: Study) -> None:
    own = settings_of(study, "prepare").settings
    assert own.network.folds == study.settings.network.folds
    with pytest.raises(UndeclaredSettingError, match="`members`"):
        _ = own.network.members
    assert own.fitted == study.settings.fitted  # a property reads declared ones only
    with pytest.raises(UndeclaredSettingError, match="`period`"):
        _ = study.only("fit_period", "seed").settings.fitted


def test_a_part_knows_only_what_there_is(study: Study) -> None:
    with pytest.raises(UndeclaredSettingError, match="StudySettings has no setting sed"):
        study.only("sed")
    with pytest.raises(AttributeError, match="sed"):
        _ = study.only("seed").settings.sed  # type: ignore[attr-defined]


def test_the_report_is_told_what_it_declares_and_nothing_else() -> None:
    told = PartOfMapping({"name": "a"}, StudySettings.model_fields)
    assert (told["name"], told.get("name"), told.get("against"), "products" in told, len(told)) == ("a", "a", None, False, 1)
    for ask in (lambda: told.get("seed"), lambda: told["seed"], lambda: "seed" in told):
        with pytest.raises(UndeclaredSettingError, match="`seed`"):
            ask()


@pytest.mark.parametrize(
    ("key", "value", "redone"),
    [
        ("data_root", "..", ()),
        ("training", {"steps": 11}, ("train",)),
        ("truth", "elsewhere", ("evaluate",)),
        ("name", "other", ("upscale", "report")),
        ("network", {"members": 6}, ("train", "report")),  # the folds are those of before
        ("network", {"folds": 4}, ("prepare", "train", "report")),
        ("seed", 9, ("prepare", "train", "upscale", "evaluate")),
    ],
)
def test_a_changed_setting_concerns_the_stages_that_read_it(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object, redone: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Study, "input_files", lambda self: [])
    text = yaml.safe_load(study.file.read_text(encoding="utf-8"))
    changed = tmp_path / "deep" / "study.yaml"
    changed.parent.mkdir()
    changed.write_text(yaml.safe_dump({**text, key: value}), encoding="utf-8")
    pairs = zip(stage_plan(study), stage_plan(load_study(changed)), strict=True)
    assert tuple(one.name for one, other in pairs if one.settings != other.settings) == redone


# --- the program ---


@pytest.fixture(name="package")
def _package(tmp_path: Path) -> Path:
    """A package whose stage imports in every way there is, and other modules that it does not."""
    files = {
        "__init__": "__version__ = '1'\nfrom pack import unrelated\n",
        "stages/__init__": "",
        "stages/work": "import pack.a\nfrom pack.room import b\nfrom pack.room.c import thing\nfrom ..up import x\nMASK = 'data/mask.nc'\n",
        "a": "def f():\n    from pack import late\n",
        "late": "",
        "room/__init__": "from pack import of_room\n",
        "room/b": "from pack import settings\n",
        "room/c": "thing = 1\n",
        "room/unrelated": "",
        "of_room": "import numpy\n",
        "up": "x = 1\nfrom . import beside\n",
        "beside": "",
        "settings": "from pack import unrelated\n",
        "unrelated": "",
    }
    for name, text in files.items():
        path = tmp_path / "pack" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("data/mask.nc", "data/other.nc", "room/template.html"):
        (tmp_path / "pack" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "pack" / name).write_text("x")
    return tmp_path / "pack"


def test_a_stage_depends_on_what_it_imports_however_far(package: Path) -> None:
    found = source_files("stages.work", package, frozenset({"settings"}))
    assert {path.relative_to(package).with_suffix("").as_posix() for path in found} == {
        "stages/__init__", "stages/work", "a", "late", "room/__init__", "room/b", "room/c", "of_room", "up", "beside", "settings",
        "data/mask", "room/template",
    }  # fmt: skip


@pytest.fixture(name="upgraded")
def _upgraded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Places in the package that an upgrade has changed."""
    changed: list[str] = []
    real = program._checksum
    monkeypatch.setattr(
        program, "_checksum", lambda path: "changed" if path.relative_to(PACKAGE).as_posix().startswith(tuple(changed)) else real(path)
    )
    return changed


@pytest.mark.parametrize(
    ("place", "redone"),
    [
        ("report/", {"report"}),
        ("report/template.html", {"report"}),
        ("evaluation/verdict.py", {"report"}),
        ("stages/evaluate.py", {"evaluate"}),
        ("twin/", {"evaluate"}),
        ("checking/", set()),
        ("cli.py", set()),
        ("pipeline.py", set()),
        ("__init__.py", set()),  # the version
        ("fitting/training.py", {"train"}),
        ("model/flux_model.py", {"train", "upscale", "evaluate"}),
        ("sources/predictors/read.py", {"prepare", "evaluate"}),  # the evaluation reads the study's land and regions
        ("data/gcp18.nc", {"prepare", "evaluate"}),
    ],
)
def test_an_upgrade_redoes_what_it_touches(upgraded: list[str], place: str, redone: set[str]) -> None:
    """What changes a stage's code redoes it; an upgrade of the report keeps last night's training."""
    before = {stage: program_of([f"stages.{stage}"]) for stage in STAGES}
    upgraded.append(place)
    found = {stage for stage in STAGES if program_of([f"stages.{stage}"]) != before[stage]}
    assert redone <= found, "a change of the code goes unseen"
    if place.startswith(("report", "checking", "cli", "pipeline", "__init__", "stages/evaluate", "sources")):
        assert found == redone
    assert place.startswith(("fitting", "model")) or "train" not in found


def test_the_evaluation_may_read_all_that_budgets_are_made_like_with_like_from(copied_run: Path) -> None:
    """An independent estimate of -2 PgC/yr, less the study's fire: read with the settings that the stage declares and no others."""
    (copied_run / "budget.csv").write_text("Year,sink\n" + "".join(f"{year},2.0\n" for year in range(2001, 2005)))
    values = yaml.safe_load((copied_run / "study.yaml").read_text())
    budget = {"name": "b", "path": str(copied_run / "budget.csv"), "units": "GtC yr-1", "terms": {"sink": -1}, "source": "drawn"}
    (copied_run / "study.yaml").write_text(yaml.safe_dump({**values, "independent": [budget]}))
    study = load_study(copied_run / "study.yaml", out=copied_run)
    found = study_budgets(settings_of(study, "evaluate"), load(copied_run / "prepared"))[0].annual
    assert list(found.index) == [2001, 2002, 2003, 2004] and (found < -2.0).all()

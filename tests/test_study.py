"""The study file: what is right loads and comes back the same; what is wrong is named, all at once, with place and remedy."""

import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.study.settings import DATA_ROOT_VARIABLE, load_study, study_schema
from dualflux.study.yaml_reader import key_path, read_yaml
from dualflux.variants import VARIANTS, Variant

REPOSITORY = Path(__file__).resolve().parents[1]
STARTER = REPOSITORY / "src/dualflux/data/starter_study.yaml"
EXAMPLE = REPOSITORY / "examples/real_monthly/study.yaml"

SMALL = """\
name: small
period: [2001-01-01, 2002-12-31]
towers:
  - {path: towers.csv, format: table}
predictors:
  - {name: ta, path: ta.nc, kind: dynamic, units: degC}
land_fraction: {path: mask.nc}
regions: {path: mask.nc, variable: regions}
inversions:
  - {path: inversions.csv, format: table}
"""


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_study(write(folder, text))
    return caught.value.problems


def test_minimal_study_and_its_places(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, SMALL))
    assert study.settings.period == (date(2001, 1, 1), date(2002, 12, 31))
    assert list(study.settings.variants) == ["towers", "inversions", "plain", "dual"]
    assert study.root == tmp_path
    assert study.out == tmp_path / "runs" / "small"


def test_data_root_option_beats_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("from_file", "from_environment", "from_option"):
        (tmp_path / name).mkdir()
    path = write(tmp_path, SMALL + "data_root: from_file\n")
    assert load_study(path).root == tmp_path / "from_file"
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path / "from_environment"))
    assert load_study(path).root == tmp_path / "from_environment"
    assert load_study(path, data_root=tmp_path / "from_option").root == tmp_path / "from_option"


def test_data_root_of_the_file_starts_at_the_file_not_at_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "data é").mkdir(parents=True)
    path = write(tmp_path / "a", SMALL + "data_root: data é\n")
    monkeypatch.chdir(tmp_path)
    assert load_study(path.relative_to(tmp_path)).root == tmp_path / "a" / "data é"


def test_missing_data_root_is_named(tmp_path: Path) -> None:
    assert "data root" in problems(tmp_path, SMALL + "data_root: nowhere\n")[0]


@pytest.mark.parametrize("file", [STARTER, EXAMPLE], ids=["starter", "real_monthly"])
def test_resolved_study_gives_the_same_study_again(file: Path, tmp_path: Path) -> None:
    first = load_study(file, data_root=tmp_path)
    second = load_study(write(tmp_path, first.to_yaml()))
    assert second.settings.model_copy(update={"data_root": ""}) == first.settings.model_copy(update={"data_root": ""})
    assert second.resolved() == first.resolved()
    json.dumps(first.resolved())


def test_part_is_what_a_stage_depends_on(tmp_path: Path) -> None:
    assert load_study(write(tmp_path, SMALL)).part("seed", "period") == {"seed": 1, "period": ["2001-01-01", "2002-12-31"]}


def test_input_files_are_all_files_each_once(tmp_path: Path) -> None:
    for name in ("mask.nc", "ta.nc", "inversions.csv", "sites.csv", "FLX_a_DD.csv", "FLX_b_DD.csv"):
        (tmp_path / name).touch()
    (tmp_path / "cube.zarr").mkdir()
    text = SMALL.replace("{path: towers.csv, format: table}", '{path: "FLX_*.csv", format: fluxnet, sites: sites.csv}')
    text = text.replace(
        "land_fraction", "  - {name: sm, path: cube.zarr, kind: dynamic}\n  - {name: potential_radiation, derived: true}\nland_fraction", 1
    )
    found = load_study(write(tmp_path, text)).input_files()
    names = ["FLX_a_DD.csv", "FLX_b_DD.csv", "sites.csv", "ta.nc", "cube.zarr", "mask.nc", "inversions.csv"]
    assert found == [tmp_path / name for name in names]


def test_input_files_hold_every_file_of_a_predictor(tmp_path: Path) -> None:
    (tmp_path / "weather").mkdir()
    for name in ("mask.nc", "towers.csv", "inversions.csv", "weather/2001.nc", "weather/2002.nc", "weather/.2002.nc", "pr_1.nc", "pr_2.nc"):
        (tmp_path / name).touch()
    text = SMALL.replace("ta.nc", "weather").replace("land_fraction", '  - {name: pr, path: "pr_*.nc", kind: dynamic}\nland_fraction', 1)
    found = load_study(write(tmp_path, text)).input_files()
    names = ["towers.csv", "weather/2001.nc", "weather/2002.nc", "pr_1.nc", "pr_2.nc", "mask.nc", "inversions.csv"]
    assert found == [tmp_path / name for name in names]


def test_missing_input_files_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, SMALL)).input_files()
    assert [next(n for n in ("towers.csv", "ta.nc", "mask.nc", "inversions.csv") if n in p) for p in caught.value.problems] == [
        "towers.csv", "ta.nc", "mask.nc", "mask.nc", "inversions.csv"
    ]  # fmt: skip


def test_every_problem_is_told_at_once_with_its_line_and_key(tmp_path: Path) -> None:
    text = (
        SMALL.replace("period:", "preiod:").replace("format: table}\npred", "format: tabel}\npred").replace("kind: dynamic", "kind: dynamc")
    )
    found = problems(tmp_path, text + "seed: -1\n")
    assert found == [
        "study.yaml line 1, period: is missing; add `period`: first and last day, both included; whole months",
        "study.yaml line 2, preiod: unknown key; did you mean `period`? allowed here: adjustments, data_root, figure_regions, "
        "fit_period, grid, holdout, independent, inversion_term, inversions, land_fraction, missing, name, network, no_flux, period, "
        "predictors, references, regions, seed, spatial_term, spin_up, target, time_step, tower_term, towers, training, truth, "
        "variants, vegetation",
        "study.yaml line 4, towers[0].format: came `tabel`; allowed: `table`, `fluxnet`",
        "study.yaml line 6, predictors[0].kind: came `dynamc`; allowed: `dynamic`, `static`, `climatology`, `fractions` or `series`",
        "study.yaml line 11, seed: came `-1`; input should be greater than or equal to 0",
    ]


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("path: ta.nc", "pth: ta.nc", "line 6, predictors[0].pth", "did you mean `path`?"),
        ("format: table}\npred", "format: table, variabel: x}\npred", "towers[0].variabel", "did you mean `variable`?"),
        ("format: table}\npred", "}\npred", "towers[0]", "key `format` is missing"),
        ("variable: regions}", "variabel: regions}", "regions.variabel", "did you mean `variable`?"),
        ("regions: {path: mask.nc, variable: regions}", "regions: gcp19", "line 8, regions", "allowed: `gcp18`"),
        ("units: degC", "units: 1", "predictors[0].units", 'needed: text; write it in quotes: "1"'),
        ("2001-01-01, 2002-12-31", "2002-01-01, 2001-12-31", "line 2, period", "runs backwards"),
        ("2001-01-01, 2002-12-31", "2001-01-15, 2002-12-31", "line 2, period", "start on the first and end on the last day of a month"),
        ("2001-01-01, 2002-12-31", "2001-01-01, 2002-02-31", "line 2, period[1]", "came `2002-02-31`"),
        ("2001-01-01, 2002-12-31", "2001-01-01", "line 2, period", "came `['2001-01-01']`; a value is missing"),
        ("name: small", "name: ../escape", "line 1, name", "it becomes a folder"),
        ("name: small", "name: small\ngrid: {resolution: 0.7}", "line 2, grid.resolution", "does not divide 180"),
        ("name: small", "name: small\ngrid: 1", "line 2, grid", "needed: a mapping with keys of [`resolution`]"),
        ("name: small", "name: small\nvariants: [dual, dual]", "line 2, variants", "name each variant once"),
        ("name: small", "name: small\nvariants: [dula]", "variants", "dula: allowed in a list: towers, inversions, plain, dual"),
        ("name: small", "name: small\ninversion_term: {weight: aut}", "weight", "came `aut`; needed: a number, or allowed: `auto`"),
        ("name: small", "name: small\ninversion_term: {estimator: representative, library: [X]}", "study.yaml", "allowed: gridded"),
        ("name: small", "name: small\nnetwork: {hiden: [64]}", "network.hiden", "did you mean `hidden`?"),
        ("name: small", "name: small\ntraining: {learning_rate: .nan}", "line 2, training.learning_rate", "only finite numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_do(tmp_path: Path, old: str, new: str, where: str, says: str) -> None:
    assert old in SMALL
    found = problems(tmp_path, SMALL.replace(old, new, 1))
    assert any(where in problem and says in problem for problem in found), found


def test_a_study_names_its_own_variants(tmp_path: Path) -> None:
    """Constraints and terms by name, beside the built-in ones as they are; resolved, the study is the same again."""
    text = SMALL + "variants:\n  dual: {constraints: [towers, inversions], representativeness: true, site_effects: true}\n"
    text += "  no_g: {constraints: [towers, inversions], site_effects: true}\n"
    (tmp_path / "study.yaml").write_text(text)
    study = load_study(tmp_path / "study.yaml", tmp_path)
    assert study.settings.variants["dual"] == VARIANTS["dual"]
    assert study.settings.variants["no_g"] == Variant(constraints=("towers", "inversions"), site_effects=True)
    (tmp_path / "again.yaml").write_text(study.to_yaml())
    assert load_study(tmp_path / "again.yaml").settings.variants == study.settings.variants


@pytest.mark.parametrize(
    ("variants", "says"),
    [
        ("{mine: {constraints: []}}", "constraints"),
        ("{mine: {constraints: [towers, rivers]}}", "came `rivers`; allowed: `towers` or `inversions`"),
        ("{mine: {constraints: [towers, towers]}}", "name each constraint once"),
        ("{mine: {constraints: [inversions], site_effects: true}}", "add towers to `constraints`"),
        ("{dual: {constraints: [towers]}}", "dual is built in and means something else"),
        ("{target: {constraints: [towers]}}", "becomes a folder and a product"),
        ("{../x: {constraints: [towers]}}", "becomes a folder and a product"),
        ("{}", "variants"),
    ],
)
def test_a_variant_that_cannot_be_is_named(tmp_path: Path, variants: str, says: str) -> None:
    found = problems(tmp_path, SMALL + f"variants: {variants}\n")
    assert any("variants" in problem and says in problem for problem in found), found


@pytest.mark.parametrize(("source", "left"), [("inversions", ["towers"]), ("towers", ["inversions"])])
def test_a_study_may_do_without_a_source(tmp_path: Path, source: str, left: list[str]) -> None:
    """Then its variants are those that are left; one that needs the source is named, and so is a study without any."""
    values = yaml.safe_load(SMALL)
    values[source] = []
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    assert list(load_study(tmp_path / "study.yaml", tmp_path).settings.variants) == left
    found = problems(tmp_path, yaml.safe_dump({**values, "variants": ["dual"]}))
    assert any(f"dual is trained on {source}, of which the study has none" in problem for problem in found), found
    found = problems(tmp_path, yaml.safe_dump({**values, "towers": [], "inversions": []}))
    assert any("towers and inversions are both empty" in problem for problem in found), found


def test_derived_predictor_of_something_unknown(tmp_path: Path) -> None:
    text = SMALL.replace("land_fraction", "  - {name: anomaly(tb), derived: true}\n  - {name: magic, derived: true}\nland_fraction", 1)
    found = problems(tmp_path, text)
    assert "`tb` is not a dynamic predictor" in found[0] and "not a derived predictor" in found[1]


def test_sink_of_lateral_transport_is_refused_for_tower_nee(tmp_path: Path) -> None:
    found = problems(tmp_path, SMALL + "target: tower_nee\nadjustments:\n  - {name: river_uptake, path: river.csv, format: table}\n")
    assert len(found) == 1 and "towers see this uptake" in found[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nperiod: [2001\nseed: 1\n", "study.yaml line 3: not valid YAML: expected ',' or ']'"),
        ("name: a\nseed: 1\nname: b\n", "study.yaml line 3: `name` is given twice (first on line 1); keep one"),
        ("network: {members: 1, members: 2}\n", "line 1: `members` is given twice"),
        ("name: &a x\nseed: *a\n", "study.yaml line 2: alias `*a`; aliases are not allowed"),
        ("name: !!python/object/apply:os.system [ls]\n", "tags are not allowed"),
        ("name: " + "[" * 5000, "nested more than 20 deep"),
        ("1: x\n", "line 1: key `1` is no text"),
        ("", "holds no settings"),
        ("- a\n- b\n", "holds no settings"),
        ("name: 0x_\n", "not valid YAML"),
    ],
)
def test_yaml_traps(tmp_path: Path, text: str, says: str) -> None:
    assert says in problems(tmp_path, text)[0]


def test_file_that_is_absent_too_large_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such study file; .*dualflux init"):
        load_study(tmp_path / "absent.yaml")
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    with pytest.raises(InputError, match="at most 1000000"):
        load_study(tmp_path / "large.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: Zürich".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8 text \(byte 7\)"):
        load_study(tmp_path / "latin.yaml")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.text("abc:,-[]{}&*!'\"|>#\n \t01.", max_size=60))
def test_any_text_is_a_mapping_or_an_input_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_bytes(text.encode("utf-8"))
        try:
            values, _ = read_yaml(path)
        except InputError as error:
            assert error.problems
        else:
            assert isinstance(values, dict)


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab -0'1é:", max_size=8)
KEY = st.text("abé", min_size=1, max_size=3)
TREE: st.SearchStrategy[Any] = st.recursive(
    LEAF, lambda tree: st.lists(tree, max_size=3) | st.dictionaries(KEY, tree, max_size=3), max_leaves=8
)
KEYS = ["name", "period", "towers", "predictors", "land_fraction", "regions", "inversions", "network", "variants"]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "key", "Schlüssel"]), TREE, min_size=1))
def test_reads_what_pyyaml_writes(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(yaml.safe_dump(values, allow_unicode=True, default_flow_style=False), encoding="utf-8")
        read, lines = read_yaml(path)
        assert read == values
        text = path.read_text(encoding="utf-8").split("\n")
        for where, line in lines.items():
            if where and isinstance(where[-1], str):
                assert where[-1] in text[line - 1], key_path(where)


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from(KEYS), value=TREE)
def test_any_value_of_any_key_is_accepted_or_explained(key: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = {**yaml.safe_load(SMALL), key: value}
        path = write(Path(folder), yaml.safe_dump(json.loads(json.dumps(values, default=str)), allow_unicode=True))
        try:
            load_study(path)
        except InputError as error:
            assert all(problem.startswith("study.yaml line ") and key in problem for problem in error.problems)


def test_real_example_is_what_the_design_says(tmp_path: Path) -> None:
    example = load_study(EXAMPLE, data_root=tmp_path).settings
    assert (example.target, [a.name for a in example.adjustments], example.time_step) == ("tower_nee", ["fire"], "monthly")
    assert example.period == (date(2001, 1, 1), date(2012, 12, 31))
    kinds = [p.kind for p in example.predictors]
    assert [kinds.count(k) for k in ("dynamic", "static", "climatology", "fractions")] == [2, 12, 3, 2]


def test_schema_in_the_docs_is_that_of_the_classes() -> None:
    written = (REPOSITORY / "docs/study.schema.json").read_text(encoding="utf-8")
    assert written == study_schema(), "run: python -m dualflux.study.settings > docs/study.schema.json"


def test_schema_names_every_key() -> None:
    assert set(json.loads(study_schema())["properties"]) >= {"towers", "predictors", "inversions", "regions", "target", "variants"}

"""Zip archives of tower files as they are downloaded: read in place, bounded, refused where they are damaged."""

import io
import os
import stat
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dualflux.errors import InputError
from dualflux.sources.towers import FluxnetSource, Towers, read_towers, site_table
from dualflux.sources.towers import archives as module

PERIOD = (date(2001, 1, 1), date(2001, 12, 31))
NAME = "AMF_US-Var_FLUXNET_FLUXMET_DD_2001-2001_v1.3_r1.csv"
BIF = "SITE_ID,GROUP_ID,VARIABLE_GROUP,VARIABLE,DATAVALUE\n" + "".join(
    f"US-Var,{i},GRP,{name},{value}\n"
    for i, (name, value) in enumerate((("LOCATION_LAT", 38.41), ("LOCATION_LONG", -120.95), ("IGBP", "GRA"), ("UTC_OFFSET", -8)))
)


def table(value: float = 1.0, days: int = 365) -> str:
    time = pd.date_range("2001-01-01", periods=days).strftime("%Y%m%d")
    return pd.DataFrame({"NEE_VUT_REF_QC": 1, "TIMESTAMP": time, "NEE_VUT_REF": np.full(days, value)}).to_csv(index=False)


MEMBERS = {
    NAME: table(-1.5),
    "AMF_US-Var_FLUXNET_BIF_2001-2001_v1.3_r1.csv": BIF,
    "AMF_US-Var_FLUXNET_BIFVARINFO_DD_2001-2001_v1.3_r1.csv": "nothing",
    "AMF_US-Var_FLUXNET_ERA5_DD_1981-2001_v1.3_r1.csv": "nothing",
    "AMF_US-Var_FLUXNET_FLUXMET_YY_2001-2001_v1.3_r1.csv": "nothing",
    "README.txt": "nothing",
}


def zipped(members: dict[str, Any], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def read(folder: Path, path: Any = "data", **keys: Any) -> Towers:
    drawn = {"implausible": "accept", **keys}  # records of one value
    return read_towers([FluxnetSource(path=path, format="fluxnet", **drawn)], folder, PERIOD, "daily")


def put(folder: Path, content: bytes, name: str = "AMF_US-Var_FLUXNET_2001-2001_v1.3_r1.zip") -> Path:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / name).write_bytes(content)
    return folder / "data" / name


@pytest.mark.parametrize("path", ["data", "data/*.zip", "data/AMF_US-Var_FLUXNET_2001-2001_v1.3_r1.zip"])
@pytest.mark.parametrize("inside", ["", "some/folder/"])
def test_an_archive_as_downloaded_is_read_with_its_site_facts(tmp_path: Path, path: str, inside: str) -> None:
    put(tmp_path, zipped({inside + name: content for name, content in MEMBERS.items()}))
    towers = read(tmp_path, path)
    assert towers.observations["nee"].tolist() == [-1.5] * 365
    assert towers.sites.loc["US-Var", ["lat", "lon", "igbp", "utc_offset"]].tolist() == [38.41, -120.95, "GRA", -8]
    assert towers.sites["source"].tolist() == [f"AMF_US-Var_FLUXNET_2001-2001_v1.3_r1.zip/{NAME}"]
    assert sorted(towers.skipped["reason"]) == [
        "not a flux file by its name",
        "reanalysis file: holds no fluxes",
        "resolution YY is not read in a daily study",
    ]


def test_archives_in_an_archive(tmp_path: Path) -> None:
    other = {NAME.replace("US-Var", "DE-Hai"): table(2.0), "ICOSETC_DE-Hai_SITEINFO_L2.csv": BIF.replace("US-Var", "DE-Hai")}
    put(tmp_path, zipped({"a/one.zip": zipped(MEMBERS), "two.zip": zipped(other), "notes.txt": "x"}), "release-2022-1.zip")
    found = read(tmp_path).observations
    assert found.groupby("site")["nee"].agg(["size", "first"]).to_numpy().tolist() == [[365, 2.0], [365, -1.5]]


def test_a_file_unpacked_beside_its_archive_is_read_once(tmp_path: Path) -> None:
    put(tmp_path, zipped(MEMBERS))
    (tmp_path / "data" / NAME).write_text(MEMBERS[NAME])
    towers = read(tmp_path)
    assert len(towers.observations) == 365 and towers.sites["source"].tolist() == [NAME]
    assert "the same file a second time" in set(towers.skipped["reason"])


def test_archive_and_unpacked_files_give_the_same(tmp_path: Path) -> None:
    put(tmp_path, zipped(MEMBERS))
    packed = read(tmp_path).observations
    (tmp_path / "unpacked").mkdir()
    for name, content in MEMBERS.items():
        (tmp_path / "unpacked" / name).write_text(content)
    pd.testing.assert_frame_equal(read(tmp_path, "unpacked").observations, packed)


def test_site_facts_from_another_archive(tmp_path: Path) -> None:
    put(tmp_path, zipped({NAME: MEMBERS[NAME]}))
    (tmp_path / "FLX_AA-Flx_BIF_ALL_20200501.zip").write_bytes(zipped({"FLX_AA-Flx_BIF_DD_20200501.csv": BIF, "other.csv": "x"}))
    assert read(tmp_path, sites="FLX_AA-Flx_BIF_ALL_20200501.zip").sites["igbp"].tolist() == ["GRA"]


def test_no_member_leads_outside_and_nothing_is_written(tmp_path: Path) -> None:
    stream = io.BytesIO(zipped({f"../../{NAME}": table(3.0), f"/etc/{NAME.replace('r1', 'r2')}": table(4.0, 9), "b/BIF.csv": "x"}))
    with zipfile.ZipFile(stream, "a") as archive:
        link = zipfile.ZipInfo(NAME.replace("r1", "r3"))
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    put(tmp_path, stream.getvalue())
    (tmp_path / "sites.csv").write_text("site,lat,lon,igbp\nUS-Var,38,-121,GRA\n")
    before = sorted(os.walk(tmp_path))
    towers = read(tmp_path, sites="sites.csv")
    assert towers.observations["nee"].tolist() == [3.0] * 365 and len(site_table(towers)) == 2, "the link is no file"
    assert sorted(os.walk(tmp_path)) == before


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = {NAME: "TIMESTAMP,NEE_VUT_REF\n" + "0" * 2**22, "AMF_US-Var_FLUXNET_BIF_2001-2001_v1.3_r1.csv": BIF}
    put(tmp_path, zipped(bomb))
    with pytest.raises(InputError, match=rf"{NAME}: unpacks to \d{{3,4}} times its size; allowed: 250"):
        read(tmp_path)
    put(tmp_path, zipped(MEMBERS))
    monkeypatch.setattr(module, "LARGEST_MEMBER", 2000)
    with pytest.raises(InputError, match=rf"{NAME}: 0.0 GiB when unpacked; allowed: .* GiB; unpack it by hand"):
        read(tmp_path)
    put(tmp_path, zipped({"inner.zip": zipped(MEMBERS)}))
    monkeypatch.setattr(module, "LARGEST_INNER_ARCHIVE", 100)
    with pytest.raises(InputError, match=r"inner.zip: 0.0 GiB when unpacked; allowed"):
        read(tmp_path)


def test_an_archive_that_lies_about_its_size_gives_no_more_than_it_states(tmp_path: Path) -> None:
    content = zipped({NAME: table(), "AMF_US-Var_FLUXNET_BIF_2001-2001_v1.3_r1.csv": BIF})
    size = len(table()).to_bytes(4, "little")
    put(tmp_path, content.replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"damaged archive \(Bad CRC-32"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: zipped({}), r"v1.3_r1.zip: the archive is empty; download it again"),
        (lambda content: b"", r"v1.3_r1.zip: damaged archive \(File is not a zip file\); download it again"),
        (lambda content: b"<html>log in first</html>", r"v1.3_r1.zip: damaged archive \(File is not a zip file\)"),
        (lambda content: content[: len(content) // 2], r"v1.3_r1.zip: damaged archive"),
        (lambda content: content[:200] + b"\x00\xff\x55" * 20 + content[260:], rf"{NAME}: damaged archive"),
        (lambda content: zipped({"README.txt": "x"}), r"no DD or HH or HR flux file below .*no other file"),
        (lambda content: zipped({"inner.zip": content[:100]}), r"v1.3_r1.zip/inner.zip: damaged archive"),
        (lambda content: zipped({**MEMBERS, NAME: b"\xff\xfe\x00 no table"}), rf"{NAME}: not a CSV table in UTF-8"),
    ],
)
def test_damaged_archives(tmp_path: Path, damage: Any, message: str) -> None:
    put(tmp_path, damage(zipped(MEMBERS)))
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(MEMBERS))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1  # the flag of encryption, in each member's two headers
            at = content.find(signature, at + 1)
    put(tmp_path, bytes(content))
    with pytest.raises(InputError, match=r"encrypted; unpack it by hand and name the folder"):
        read(tmp_path)


@pytest.mark.parametrize("left", [0.5, 0.97])
def test_a_csv_file_that_was_cut_short_is_refused(tmp_path: Path, left: float) -> None:
    (tmp_path / "data").mkdir()
    text = table(-1.25)
    cut = text[: text.rfind(",", 0, int(left * len(text)))]
    (tmp_path / "data" / NAME).write_text(cut)
    (tmp_path / "data" / "AMF_US-Var_BIF.csv").write_text(BIF)
    with pytest.raises(InputError, match=r"cut short: the last line has [12] of 3 fields; download it again"):
        read(tmp_path)
    (tmp_path / "data" / NAME).write_text(text.rstrip("\n"))
    assert len(read(tmp_path).observations) == 365, "a missing last line end is no damage"

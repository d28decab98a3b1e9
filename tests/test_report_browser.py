"""The report in a real browser: it fetches nothing, complains about nothing, and its picker and tables work by mouse and keyboard."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from browser import CHROMIUM, Browser
from dualflux import report
from dualflux.report import write_report
from test_report import NOTES, REGIONS, STUDY, drawn_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian's package: chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "DOTS_PER_INCH", 40)
        path = write_report(drawn_run(tmp_path_factory.mktemp("run")), STUDY, notes=NOTES)
    with Browser() as browser:
        yield browser, path


def test_nothing_leaves_the_machine_and_nothing_goes_wrong(page: tuple[Browser, Path]) -> None:
    browser, path = page
    browser.open(path)
    assert {r for r in browser.requests if not r.startswith("data:")} <= {path.as_uri(), "about:blank"}
    assert browser.complaints == []
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_as_wide_as_the_window_and_its_text_is_readable(page: tuple[Browser, Path], width: int, dark: bool) -> None:
    """No sideways scrolling of the page; text at least 11 px; contrast of text and marks at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    browser, path = page
    browser.open(path, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    sizes = browser.run("[...document.querySelectorAll('p, td, th, li, figcaption')].map(e => parseFloat(getComputedStyle(e).fontSize))")
    assert min(sizes) >= 11
    assert browser.run(_CONTRAST) >= 4.5


_CONTRAST = """
(() => {
  const colour = text => text.match(/[\\d.]+/g).slice(0, 4).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) { return c; } } return [255, 255, 255]; };
  const ratio = e => { const [a, b] = [light(colour(getComputedStyle(e).color)), light(behind(e))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); };
  return Math.min(...[...document.querySelectorAll('p, td, th, figcaption, .mark, a')].filter(e => e.offsetParent).map(ratio));
})()
"""


def shown(browser: Browser) -> list[str]:
    return list(browser.run("[...document.querySelectorAll('figure.pick')].filter(f => f.offsetParent).map(f => f.dataset.region)"))


def test_the_region_picker_shows_one_region(page: tuple[Browser, Path]) -> None:
    browser, path = page
    browser.open(path)
    assert shown(browser) == ["global"]
    for region in (*REGIONS, "global"):
        browser.run(f"(p => {{ p.value = {region!r}; p.dispatchEvent(new Event('change')); }})(document.getElementById('region'))")
        assert shown(browser) == [region]


def test_the_region_picker_works_with_the_keyboard(page: tuple[Browser, Path]) -> None:
    browser, path = page
    browser.open(path)
    browser.run("document.getElementById('region').focus()")
    browser.press("ArrowDown")
    assert shown(browser) == [REGIONS[0]]


def column(browser: Browser, table: int, place: int) -> list[str]:
    return list(
        browser.run(f"[...document.querySelectorAll('table.sortable')[{table}].tBodies[0].rows].map(r => r.cells[{place}].dataset.key)")
    )


def test_tables_sort_numbers_as_numbers_up_and_down(page: tuple[Browser, Path]) -> None:
    """Column `towers` of the verdict: by value, not as text; empty cells last; the heading says how."""
    browser, path = page
    browser.open(path)
    heading = "document.querySelectorAll('table.sortable')[0].tHead.rows[0].cells[2]"
    before = column(browser, 0, 2)
    numbers = sorted(float(x) for x in before if x)
    assert [float(x) for x in before if x] != numbers
    browser.run(f"{heading}.querySelector('button').click()")
    assert [float(x) for x in column(browser, 0, 2) if x] == numbers and browser.run(f"{heading}.getAttribute('aria-sort')") == "ascending"
    browser.run(f"{heading}.querySelector('button').focus()")
    browser.press("Enter")
    assert [float(x) for x in column(browser, 0, 2) if x] == numbers[::-1]
    assert browser.run(f"{heading}.getAttribute('aria-sort')") == "descending"
    assert sorted(column(browser, 0, 2)) == sorted(before)


def test_the_first_stop_of_the_keyboard_leads_to_the_verdict(page: tuple[Browser, Path]) -> None:
    browser, path = page
    browser.open(path)
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('href')") == "#verdict"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0


def test_a_screen_reader_finds_names_and_order(page: tuple[Browser, Path]) -> None:
    """One main and one h1; headings go down one level at a time; every figure, table, control and region has a name."""
    browser, path = page
    browser.open(path)
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert browser.run("document.querySelectorAll('main').length") == 1 and browser.run("document.documentElement.lang") == "en"
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {"table", "combobox", "button", "link", "image", "region"}
    nameless = [n for n in nodes if not n["ignored"] and n["role"]["value"] in named and not n.get("name", {}).get("value")]
    assert nameless == []


def test_printing_shows_every_region_and_every_table(page: tuple[Browser, Path]) -> None:
    browser, path = page
    browser.open(path)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    browser.call("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert set(shown(browser)) == {"global", *REGIONS}
        assert browser.run("[...document.querySelectorAll('details')].every(d => d.open)")
        assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    finally:
        browser.call("Emulation.setEmulatedMedia", {"media": ""})

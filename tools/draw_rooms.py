"""Draw the rooms of the package and the imports between them, read from the source: docs/rooms.svg, the picture in CONTRIBUTING.md.

    python tools/draw_rooms.py             # draw
    python tools/draw_rooms.py --json      # print instead: rooms, loose_files, upward, cycles

`rooms` stand in the order of tests/rooms.py, from the roof to the ground; `loose_files` stand in no room; `upward` are imports from
a room above and `cycles` groups of modules that import each other: both are to be empty. `imports` are those of each room.
"""

import argparse
import html
import json
import re
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from rooms import PACKAGE, ROOMS, circles, import_graph, room_graph, upward

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
_ROW, _NAMES = 0.19, 0.85  # inches: a row, room for names


def main() -> None:
    """Print or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print what the picture shows, draw nothing")
    if parser.parse_args().json:
        print(json.dumps(facts(), indent=1, ensure_ascii=False))
    else:
        draw(facts(), PICTURE)


def facts() -> dict:
    """What is printed, see above."""
    graph = import_graph()
    between = room_graph(graph)
    return {
        "rooms": list(between),
        "loose_files": sorted(path.name for path in PACKAGE.glob("*.py")),
        "upward": upward(graph),
        "cycles": circles(graph),
        "imports": {name: sorted(others, key=ROOMS.index) for name, others in between.items()},
    }


def draw(found: dict, path: Path) -> None:
    """A row and a column for each room; a dot in a row is an import from the room of that column, red where that stands above."""
    names = found["rooms"]
    place = {name: number for number, name in enumerate(names)}
    size, last = _ROW * len(names), len(names) - 0.5
    figure = Figure(figsize=(size + _NAMES, size + _NAMES))
    ax = figure.add_axes((_NAMES / (size + _NAMES), 0, size / (size + _NAMES), size / (size + _NAMES)))
    pairs = [(place[a], place[b]) for a in names for b in found["imports"][a]]
    ax.fill([-0.5, last, last], [-0.5, -0.5, last], color="#eef4f7")
    ax.hlines(place.values(), -0.5, last, color="#dddddd", linewidth=0.5)
    ax.scatter([b for _, b in pairs], [a for a, _ in pairs], s=18, c=["#c0392b" if b < a else "#2c6e8f" for a, b in pairs], zorder=2)
    labels = [f"{name}.py" if f"{name}.py" in found["loose_files"] else f"{name}/" for name in names]
    ax.set(xlim=(-0.5, last), ylim=(last, -0.5))
    ax.set_xticks(range(len(names)), labels, rotation=90)
    ax.set_yticks(range(len(names)), labels)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rooms"}):
        figure.savefig(path, metadata={"Date": None, "Description": json.dumps(found["imports"])} if path.suffix == ".svg" else None)


def read_picture(path: Path) -> dict[str, list[str]]:
    """The imports that a picture shows, as it carries them in its description."""
    text = re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    if not text:
        raise SystemExit(f"{path}: carries no description; run python tools/draw_rooms.py")
    return {name: sorted(others) for name, others in json.loads(html.unescape(text[1])).items()}


if __name__ == "__main__":
    main()

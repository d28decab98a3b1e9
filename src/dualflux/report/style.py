"""How figures look: colours that colour-blind readers and print can tell apart, units, fonts."""

from dataclasses import dataclass
from typing import Any

# Okabe and Ito (2008); markers and dashes say the same once more for print in grey
_VARIANT_STYLES = {
    "towers": ("#D55E00", "s", (0, (5, 1.5))),
    "inversions": ("#CC79A7", "^", (0, (3, 1, 1, 1))),
    "plain": ("#009E73", "D", (0, (1, 1))),
    "dual": ("#0072B2", "o", "-"),
}
TARGET = "#1a1a1a"
INVERSION_GREY = "#9a9a9a"
TRUTH = "#E69F00"
REFERENCE_COLOURS = ("#7a5c00", "#56B4E9", "#44AA99", "#AA4499", "#332288", "#999933", "#CC6677", "#0b5fa5")
BUDGET_COLOURS = ("#882255", "#117733", "#6a3d9a")
LABELS = {
    "towers": "towers only",
    "inversions": "inversions only",
    "target": "target (mean of inversions)",
    "truth": "truth of the synthetic world",
}
MONTHS = "JFMAMJJASOND"
RC: dict[Any, Any] = {
    "text.parse_math": False,  # a `$` in a region's name is a dollar
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "hatch.linewidth": 0.5,
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Style:
    """How one product is drawn."""

    colour: str
    marker: str
    dashes: Any
    width: float
    label: str
    order: int


def style_of(product: str, references: frozenset[str] = frozenset()) -> Style:
    """The style of a product: target black and thick, variants, truth and references coloured, inversions thin and grey."""
    label = LABELS.get(product, product)
    if product == "target":
        return Style(TARGET, "", "-", 3.0, label, 3)
    if product in _VARIANT_STYLES:
        colour, marker, dashes = _VARIANT_STYLES[product]
        return Style(colour, marker, dashes, 2.4 if product == "dual" else 1.8, label, 5 if product == "dual" else 4)
    if product == "truth":
        return Style(TRUTH, "*", "-", 2.2, label, 5)
    if product in references:
        place = sorted(references).index(product)
        colour, marker = REFERENCE_COLOURS[place % len(REFERENCE_COLOURS)], "v<>pPXdh"[place % 8]
        return Style(colour, marker, (0, (6, 2, 1, 2)), 1.5, label, 3)
    return Style(INVERSION_GREY, "", "-", 0.9, label, 1)


def pretty_unit(unit: str) -> str:
    """Write exponents as superscripts: ``"PgC month-1"`` -> ``"PgC month⁻¹"``; a pure number has no unit.

    Examples
    --------
    >>> pretty_unit("gC m-2 d-1"), pretty_unit("1")
    ('gC m⁻² d⁻¹', '')
    """
    if unit == "1":
        return ""
    words = []
    for word in unit.split():
        letters = word.rstrip("-0123456789")
        words.append(letters + word[len(letters) :].translate(_SUPERSCRIPT))
    return " ".join(words)


def fixed(value: float, decimals: int) -> str:
    """A number with as many decimals as its column; none from 100 on, a real minus sign, no minus zero, a dash where there is none.

    Examples
    --------
    >>> fixed(-3.8912, 2), fixed(0.7, 2), fixed(-0.001, 2), fixed(306.48, 2), fixed(float("nan"), 2)
    ('−3.89', '0.70', '0.00', '306', '–')
    """
    if value != value:
        return "–"
    text = f"{value:.{0 if abs(value) >= 100 else decimals}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number for readers: `digits` significant digits, a real minus sign, a dash where there is none.

    Examples
    --------
    >>> number(-3.8912), number(0.5, sign=True), number(float("nan")), number(1234.4), number(0.0)
    ('−3.89', '+0.5', '–', '1234', '0')
    """
    if value != value:
        return "–"
    text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    if "e" in text and abs(value) >= 1e-4:
        text = f"{float(text):f}".rstrip("0").rstrip(".")
    return ("+" + text if sign and value > 0 else text).replace("-", "−")

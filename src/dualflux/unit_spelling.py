"""Units as files spell them, written in one way: ``g C m**-2 day-1``, ``mol/(m2 s)``, ``(0 - 1)``, ``1e-3 kg``."""

import re
import unicodedata

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*(?:-|to|\.\.+|…|,|:|;)\s*({_NUMBER})")
_BARE_RANGE = re.compile(rf"(?:^|(?<=[\s,:])){_RANGE.pattern}$")
_GROUP = re.compile(r"(/\s*)?[(\[]([^()\[\]]*)[)\]](-1)?")
_LEADING = re.compile(rf"({_NUMBER})(?:\s*[*×x]\s*|\s+|(?=[A-Za-z%°]))(?=[A-Za-z%°1])(.+)")
_WORD = r"(?:[A-Za-wyz%°][A-Za-z%°]*(?:-?[1-4])?|-)"  # x is a sign of multiplication
_RANGES = {(0.0, 1.0): "1", (0.0, 100.0): "%"}  # what a range alone says: a fraction, percent
_UNSTATED = ("", "unknown", "undefined", "n/a", "na", "not specified", "not available", "unspecified")
_WORDS = {
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), "h"),
    **dict.fromkeys(("year", "years", "y", "a"), "yr"),
    **dict.fromkeys(("mon", "mo", "months"), "month"),
    **dict.fromkeys(("sec", "second", "seconds"), "s"),
    **dict.fromkeys(("C", "Celsius", "celsius", "degree_Celsius", "degrees_Celsius", "degree_celsius", "degrees_celsius", "°C"), "degC"),
    **dict.fromkeys(("deg_C", "degreesC", "degreeC", "degree_C", "degrees_C", "deg_c", "degc"), "degC"),
    **dict.fromkeys(("Kelvin", "kelvin", "degK", "deg_K", "degree_Kelvin", "degrees_Kelvin"), "K"),
    **dict.fromkeys(("percent", "percentage", "pct", "Percent"), "%"),
    **dict.fromkeys(("-", "dimensionless", "unitless", "fraction", "none", "Fraction", "ratio", "proportion"), "1"),
    **dict.fromkeys(("mb", "mbar", "millibar", "millibars"), "hPa"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
}
_DEGREES = re.compile(r"\bdeg(?:ree)?s?\.?[ _]?(C|Celsius|celsius|K|Kelvin|kelvin)\b")


def unstated(units: str | None) -> bool:
    """Whether an attribute `units` says nothing: absent, empty or a word such as ``unknown``."""
    return units is None or str(units).strip().lower() in _UNSTATED


def normalise_units(units: str) -> str:
    """Write a unit in one spelling, a factor in front of it as a plain number.

    A note in brackets is left out where it holds no number. A range alone says fraction or percent. Whatever is not understood stays as it
    is, so that it is found in no list of units and refused.

    Examples
    --------
    >>> normalise_units("g C m**-2 day-1")
    'gC m-2 d-1'
    >>> normalise_units("PgC/m^2/yr")
    'PgC m-2 yr-1'
    >>> normalise_units("gC per m2 per year")
    'gC m-2 yr-1'
    >>> normalise_units("m (ECHAM bucket)")
    'm'
    >>> normalise_units("(0 - 1)"), normalise_units("% (0 to 100)"), normalise_units("degC (x 10)")
    ('1', '%', 'degC (x 10)')
    >>> normalise_units("mol/(m2 s)"), normalise_units("10^-3 kg m-2")
    ('mol m-2 s-1', '0.001 kg m-2')
    """
    text = unicodedata.normalize("NFKC", str(units)).replace("−", "-").replace("–", "-").replace("μ", "u").replace("µ", "u")
    text = re.sub(r"\b10\s*(?:\*\*|\^)\s*\(?([+-]?\d+)\)?", r"1e\1", re.sub(r"\bper cent\b", "%", text.strip()))
    found = _without_ranges(_without_brackets(re.sub(r"\bper\b", "/", text)))
    if found is None or re.search(r"[()\[\]]", found):
        return " ".join(str(units).split())
    factor, rest = split_factor(found)
    spelled = _spell(rest)
    return spelled if factor == 1 else f"{factor!r} {spelled}"


def split_factor(units: str) -> tuple[float, str]:
    """The number in front of a unit, 1 without one, and the unit.

    Examples
    --------
    >>> split_factor("0.1 mm"), split_factor("m s-1"), split_factor("0.001")
    ((0.1, 'mm'), (1.0, 'm s-1'), (0.001, '1'))
    """
    if re.fullmatch(_NUMBER, units):
        return (float(units), "1") if float(units) > 0 else (1.0, units)
    match = _LEADING.fullmatch(units)
    if match is None or float(match[1]) <= 0:
        return 1.0, units
    return float(match[1]), match[2].strip()


def _without_brackets(text: str) -> str:
    """Notes left out, units in brackets unwrapped, ranges in brackets bare; other brackets that hold a number stay."""

    def replaced(match: re.Match[str]) -> str:
        divided, inside = match[1] is not None or match[3] is not None, match[2].strip()
        alone = not (text[: match.start()] + text[match.end() :]).strip()
        inside = inside.replace("**", "").replace("^", "")
        if _RANGE.fullmatch(inside):
            return f" {inside}"
        words = re.split(r"[\s*·.]+", inside)
        is_unit = all(re.fullmatch(_WORD, word) for word in words)
        if is_unit and divided:
            return " " + " ".join(f"/{word}" for word in words)
        if is_unit and (alone or re.search(r"\d", inside)):
            return f" {inside} "
        return match[0] if divided or re.search(r"\d", inside) else " "

    return _GROUP.sub(replaced, text).strip()


def _without_ranges(text: str) -> str | None:
    """A range as the unit that it says, or left out where the unit says the same; None where the two differ."""
    match = _BARE_RANGE.search(text)
    if match is None:
        return text
    said = _RANGES.get((float(match[1]), float(match[2])))
    rest = _spell(text[: match.start()].rstrip(" ,:;"))
    return said if rest in ("", said) else None


def _spell(text: str) -> str:
    text = text.replace("**", "").replace("^", "")
    text = re.sub(r"(?<=[A-Za-z0-9])\s*[*·×]\s*(?=[A-Za-z])", " ", text)
    text = re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])", " ", text)
    text = _DEGREES.sub(lambda m: "K" if m[1][0] in "Kk" else "degC", text)
    text = re.sub(r"/\s*([A-Za-z]+)(\d*)", lambda m: f" {m[1]}-{m[2] or 1}", text)
    text = re.sub(r"^1 (?=[A-Za-z]+-\d)", "", text.strip())
    text = re.sub(r"\b(k|P|G|T|M)?(g|t|umol|mol) (C|CO2)(?=\s|$)", lambda m: f"{m[1] or ''}{m[2]}{m[3]}", text)
    words = [re.fullmatch(r"(.*?)(-?\d+)?", word) for word in text.split()]
    return " ".join(_WORDS.get(m[1], m[1]) + (m[2] or "") for m in words if m)

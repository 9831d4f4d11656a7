"""Normalise quantities to one unit for each kind, so that equal amounts compare equal.

Layer: ``kg``; the standard library only. A small table rather than a units library: it holds what stands in ordinary
texts, loads at once, and its arithmetic is exact.
Source of the factors: NIST Special Publication 811 (2008), appendix B; the SI Brochure, 9th edition.

The value is ``NUMBER UNIT``: ``12 km`` and ``12,000 m`` are ``12000 metre``; ``€2.5 million`` is ``2500000 EUR``;
``54%`` is ``54 percent``; ``200 people`` is ``200 person``; ``0.42`` alone is ``0.42``; a range is ``10/20 metre``; a
rate keeps its words, ``900 EUR per month``.

Conventions
- ``$`` and "dollars" without a country are USD, ``£`` and, of money, "pounds" GBP, ``¥`` JPY. "Crowns", "francs" and
  "pesos" without a country have no value: there are several.
- "Tonne" and "ton" are 1,000 kg only as "tonne", "metric ton" or ``t``; "ton", "gallon" and "pint" have no value: they
  differ between countries. Miles are international miles.
- ``kB`` to ``TB`` are powers of 1,000, ``KiB`` to ``TiB`` of 1,024.
- "about", "over" and "at least" are not kept.
"""

from __future__ import annotations

import re
from decimal import Decimal

from kg.extraction.numbers import NUMBER, format_number, parse_number
from kg.resolution import entity_key
from kg.wordlists import word_list

__all__ = ["CODES", "CURRENCY", "MONEY_WORDS", "UNIT", "parse_count", "parse_money", "parse_percent", "parse_quantity"]

# Unit: factor to the canonical unit; the names that people write, case kept where it matters.
_TABLE: dict[str, dict[str, str]] = {
    "metre": {
        "1": "m metre metres meter meters", "1000": "km kilometre kilometres kilometer kilometers",
        "0.01": "cm centimetre centimetres centimeter centimeters",
        "0.001": "mm millimetre millimetres millimeter millimeters",
        "0.000001": "µm μm micrometre micrometres micrometer micrometers micron microns",
        "0.000000001": "nm nanometre nanometres nanometer nanometers", "1609.344": "mi mile miles",
        "0.3048": "ft foot feet", "0.0254": "inch inches", "0.9144": "yd yard yards",
        "1852": "nmi", "9460730472580800": "light-year light-years",
    },
    "kilogram": {
        "1": "kg kilo kilos kilogram kilograms", "0.001": "g gram grams gramme grammes",
        "0.000001": "mg milligram milligrams", "0.000000001": "µg μg mcg microgram micrograms",
        "1000": "t tonne tonnes", "0.45359237": "lb lbs pound pounds", "0.028349523125": "oz ounce ounces",
    },
    "square metre": {
        "1": "m² m2 sqm", "1000000": "km² km2", "0.0001": "cm² cm2", "0.000001": "mm² mm2",
        "10000": "ha hectare hectares", "4046.8564224": "acre acres",
    },
    "cubic metre": {
        "1": "m³ m3", "0.001": "l L litre litres liter liters dm³", "0.000001": "ml mL cm³ cc millilitre millilitres "
        "milliliter milliliters", "0.0001": "dl dL", "0.00001": "cl cL", "1000000000": "km³",
    },
    "metre per second": {"1": "m/s", "5/18": "km/h kph kmh", "0.44704": "mph", "463/900": "knot knots kn"},
    "pascal": {
        "1": "Pa pascal pascals", "100": "hPa mbar millibar", "1000": "kPa", "1000000": "MPa", "100000": "bar bars",
        "6894.757293168": "psi",
    },
    "watt": {"1": "W watt watts", "1000": "kW kilowatt kilowatts", "1000000": "MW megawatt megawatts",
             "1000000000": "GW gigawatt gigawatts", "0.001": "mW"},
    "joule": {
        "1": "J joule joules", "1000": "kJ", "1000000": "MJ", "3600": "Wh", "3600000": "kWh", "3600000000": "MWh",
        "3600000000000": "GWh", "3600000000000000": "TWh", "4184": "kcal", "4.184": "cal",
    },
    "volt": {"1": "V volt volts", "1000": "kV", "0.001": "mV"},
    "ampere": {"1": "A amp amps ampere amperes", "0.001": "mA"},
    "hertz": {"1": "Hz hertz", "1000": "kHz", "1000000": "MHz", "1000000000": "GHz"},
    "newton": {"1": "N newton newtons", "1000": "kN"},
    "byte": {
        "1": "byte bytes", "1000": "kB KB kilobyte kilobytes", "1000000": "MB megabyte megabytes",
        "1000000000": "GB gigabyte gigabytes", "1000000000000": "TB terabyte terabytes", "1024": "KiB",
        "1048576": "MiB", "1073741824": "GiB", "1099511627776": "TiB",
    },
    "degree": {"1": "° degree degrees"},
    "decibel": {"1": "dB decibel decibels"},
    "mole": {"1": "mol", "0.001": "mmol"},
}  # fmt: skip
_TEMPERATURES = {
    "k": (Decimal(1), Decimal(0)), "kelvin": (Decimal(1), Decimal(0)), "°c": (Decimal(1), Decimal("273.15")),
    "degrees celsius": (Decimal(1), Decimal("273.15")), "degrees centigrade": (Decimal(1), Decimal("273.15")),
    "celsius": (Decimal(1), Decimal("273.15")), "degrees c": (Decimal(1), Decimal("273.15")),
}  # fmt: skip
_FAHRENHEIT = frozenset({"°f", "degrees fahrenheit", "fahrenheit", "degrees f"})


def _factor(text: str) -> Decimal:
    numerator, _, denominator = text.partition("/")
    return Decimal(numerator) / Decimal(denominator or 1)


_UNITS = {
    name: (canonical, _factor(factor))
    for canonical, names in _TABLE.items()
    for factor, group in names.items()
    for name in group.split()
}
_POWERS = {"square": "square metre", "sq": "square metre", "sq.": "square metre", "cubic": "cubic metre"}
_CURRENCIES = {
    "$": "USD", "us$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW", "₺": "TRY",
    "a$": "AUD", "c$": "CAD", "hk$": "HKD", "nz$": "NZD", "s$": "SGD", "r$": "BRL", "dollar": "USD", "dollars": "USD",
    "us dollars": "USD", "us dollar": "USD", "u.s. dollars": "USD", "american dollars": "USD",
    "australian dollars": "AUD", "canadian dollars": "CAD", "euro": "EUR", "euros": "EUR", "pound": "GBP",
    "pounds": "GBP", "pounds sterling": "GBP", "british pounds": "GBP", "yen": "JPY", "yuan": "CNY", "renminbi": "CNY",
    "rupee": "INR", "rupees": "INR", "indian rupees": "INR", "rouble": "RUB", "roubles": "RUB", "rubles": "RUB",
    "won": "KRW", "zloty": "PLN", "zlotys": "PLN", "swiss francs": "CHF", "swedish crowns": "SEK",
    "swedish kronor": "SEK", "norwegian kroner": "NOK", "norwegian crowns": "NOK", "danish kroner": "DKK",
    "danish crowns": "DKK", "czech crowns": "CZK", "koruna": "CZK", "mexican pesos": "MXN", "lira": "TRY",
    "deutschmarks": "DEM", "deutsche marks": "DEM",
} | {
    code.lower(): code
    for code in word_list(
        "USD EUR GBP JPY CNY INR CHF SEK NOK DKK CZK PLN HUF RUB AUD CAD NZD SGD HKD BRL MXN ZAR TRY KRW ILS DEM"
    )
}  # fmt: skip
_SYMBOLS = r"(?:US|A|C|HK|NZ|S|R)?\$|[€£¥₹₽₩₺]"
_MONEY_WORDS = "|".join(
    re.escape(w) for w in sorted(_CURRENCIES, key=len, reverse=True) if w[0].isalpha() and "$" not in w
)
CURRENCY = rf"(?:{_SYMBOLS})"
"""A pattern for the signs that stand before or behind an amount of money."""
CODES = "(?:USD|EUR|GBP|JPY|CNY|INR|CHF|SEK|NOK|DKK|CZK|PLN|HUF|RUB|AUD|CAD|NZD|SGD|HKD|BRL|MXN|ZAR|TRY|KRW|ILS)"
"""A pattern for the codes of currencies in use (ISO 4217)."""
MONEY_WORDS = rf"(?:{_MONEY_WORDS})"
"""A pattern for the names of currencies, case to be ignored."""
UNIT = (
    r"(?:(?:degrees? (?:Celsius|Fahrenheit|centigrade|C|F)\b|°\s?[CFK]\b)|(?:square|cubic|sq\.?) [a-z]+|(?:"
    + "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True) if name != "°")
    + r")(?![\w/²³])|°)"
)
"""A pattern for the units that :func:`parse_quantity` knows; case matters: ``mW`` is not ``MW``."""
_LEAD = re.compile(
    r"\A(?:(?:about|around|approximately|approx\.|roughly|nearly|almost|some|over|more than|less than|fewer than|under|"
    r"at least|at most|up to|only|just|exactly|an estimated|estimated|the|another|a total of|between|from|~|≈|c\.|ca\.)"
    r"\s*)+"
    r"(?=.*[\da-z])",
    re.IGNORECASE,
)
_AMOUNT = re.compile(rf"({NUMBER})(?:\s*(?:–|—|-|to|and)\s*({NUMBER}))?[\s-]*", re.IGNORECASE)
_RATE = re.compile(r"\s*(?:/\s*|\bper |\ban? |\bevery |\beach )([a-z]+)\Z", re.IGNORECASE)


def _amounts(text: str) -> tuple[list[Decimal], str] | None:
    """Split ``text`` into one number or two, and what stands behind."""
    match = _AMOUNT.match(text)
    if match is None:
        return None
    numbers = [parse_number(part) for part in match.groups() if part is not None]
    if any(number is None for number in numbers):
        return None
    known = [number for number in numbers if number is not None]
    if len(known) == 2:
        scale = re.search(r"(?:thousand|million|billion|trillion|mn|bn)\Z", match.group(2).lower())
        if scale and not re.search(r"[a-z]\Z", match.group(1).lower()):
            known[0] *= parse_number(f"1 {scale.group()}") or 1
        if known[0] >= known[1]:
            return None
    return known, text[match.end() :].strip()


def _folded(text: str) -> str:
    return _LEAD.sub("", " ".join(text.split()).strip(" .,;"))


def _written(numbers: list[Decimal], unit: str) -> str:
    return f"{'/'.join(format_number(number) for number in numbers)} {unit}".strip()


def parse_percent(text: str) -> str:
    """Return ``54 percent`` for ``54%``, ``54 per cent`` or ``fifty-four percent``; empty where it is none."""
    match = re.fullmatch(
        r"(.+?)[\s-]*(%|percent|per cent|pct\.?|percentage points?|pp)", _folded(text), flags=re.IGNORECASE
    )
    found = _amounts(re.sub(r"(?<=\d)\s*%", "", match.group(1))) if match else None
    if match is None or found is None or found[1]:
        return ""
    return _written(found[0], "percentage point" if "p" in match.group(2) and "point" in match.group(2) else "percent")


def parse_money(text: str) -> str:
    """Return ``2500000 EUR`` for ``€2.5 million`` or ``2.5m euros``; empty where the currency is not certain."""
    text = _folded(text)
    rate = _RATE.search(text)
    suffix = f" per {rate.group(1).lower()}" if rate else ""
    text = text[: rate.start()] if rate else text
    before = re.match(rf"({_SYMBOLS}|[A-Z]{{3}}(?=\s?\d))\s?", text)
    currency = before.group(1).lower() if before else ""
    text = re.sub(rf"(?<=[\d–-])\s*{re.escape(before.group(1))}" if before else r"\A(?!)", "", text)
    text = re.sub(r"(?<=\d)\s?[mM](?=\b|\s|\Z)(?!i)", " million", text[before.end() :] if before else text)
    found = _amounts(re.sub(r"(?<=\d)\s?[bB](?=\b)(?!n)", " billion", text))
    if found is None:
        return ""
    numbers, rest = found
    behind = rest.lower().strip()
    code = _CURRENCIES.get(currency or behind)
    if code is None or (currency and behind not in ("", *_CURRENCIES)):
        return ""
    return _written(numbers, code + suffix)


def parse_quantity(text: str) -> str:
    """Return an amount in its canonical unit, ``12000 metre`` for ``12 km``; empty where the unit is not known."""
    text = _folded(text)
    found = _amounts(text)
    if found is None:
        return ""
    numbers, unit = found
    rate = None if unit in _UNITS else _RATE.search(unit)
    suffix = f" per {rate.group(1).lower()}" if rate else ""
    unit = (unit[: rate.start()] if rate else unit).strip()
    if unit in ("miles", "kilometres", "kilometers", "km", "metres", "m", "meters") and suffix in (
        " per hour",
        " per second",
    ):
        seconds = 3600 if "hour" in suffix else 1
        return _written([n * _UNITS[unit][1] / seconds for n in numbers], "metre per second")
    return _converted(numbers, unit, suffix)


def _converted(numbers: list[Decimal], unit: str, suffix: str) -> str:
    folded = re.sub(r"°\s", "°", unit.lower()).replace("degree ", "degrees ")
    if folded in _FAHRENHEIT:
        return _written([(n - 32) * 5 / 9 + Decimal("273.15") for n in numbers], "kelvin" + suffix)
    if folded in _TEMPERATURES:
        factor, offset = _TEMPERATURES[folded]
        return _written([n * factor + offset for n in numbers], "kelvin" + suffix)
    power, _, base = folded.partition(" ")
    if power in _POWERS and base:
        known = _UNITS.get(base)
        if known is None or known[0] != "metre":
            return ""
        exponent = 2 if "square" in _POWERS[power] else 3
        return _written([n * known[1] ** exponent for n in numbers], _POWERS[power] + suffix)
    known = _UNITS.get(unit) or _UNITS.get(re.sub(r"\Ametric ", "", folded).replace("tons", "tonnes") if
                                           folded.startswith("metric ton") else folded)  # fmt: skip
    if known is None:
        return ""
    canonical, factor = known
    return _written([n * factor for n in numbers], canonical + suffix)


def parse_count(text: str) -> str:
    """Return ``200 person`` for ``200 people`` and ``54000`` for ``54,000``; empty where there is no number."""
    found = _amounts(_folded(text))
    if found is None:
        return ""
    numbers, what = found
    return _written(numbers, entity_key(what, "CONCEPT") if what else "")

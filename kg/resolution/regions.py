"""Tell whether two names of regions can stand behind one town's name: "Ohio" and "United States", yes.

Layer: ``kg``; the standard library only. The lists are short and ours; a region that is not in them may lie in any that
is, so only two unknown regions, or two known ones that exclude each other, tell towns apart.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["are_known_regions", "can_be_one_region", "is_country"]

_PARTS = {
    "united states": "alabama|alaska|arizona|arkansas|california|colorado|connecticut|delaware|florida|georgia|hawaii|"
    "idaho|illinois|indiana|iowa|kansas|kentucky|louisiana|maine|maryland|massachusetts|michigan|minnesota|"
    "mississippi|missouri|montana|nebraska|nevada|new hampshire|new jersey|new mexico|new york|north carolina|"
    "north dakota|ohio|oklahoma|oregon|pennsylvania|rhode island|south carolina|south dakota|tennessee|texas|utah|"
    "vermont|virginia|washington|west virginia|wisconsin|wyoming",
    "canada": "ontario|quebec|british columbia|alberta|manitoba|saskatchewan|nova scotia|new brunswick|newfoundland",
    "united kingdom": "england|scotland|wales|northern ireland",
    "australia": "new south wales|victoria|queensland|tasmania|south australia|western australia",
}
_COUNTRIES = (
    "united states|canada|united kingdom|australia|ireland|france|germany|italy|spain|portugal|netherlands|belgium|"
    "switzerland|austria|sweden|norway|denmark|finland|iceland|poland|greece|turkey|russia|ukraine|china|japan|india|"
    "new zealand|south africa|mexico|brazil|argentina|chile|jamaica|kenya|nigeria|egypt|israel"
)
_OTHER_NAMES = {
    "us": "united states", "usa": "united states", "america": "united states", "united states of america":
    "united states", "uk": "united kingdom", "britain": "united kingdom", "great britain": "united kingdom",
    "republic of ireland": "ireland", "republic of china": "taiwan", "holland": "netherlands",
}  # fmt: skip
_COUNTRY_OF = {part: country for country, parts in _PARTS.items() for part in parts.split("|")}
_COUNTRY_OF |= {country: country for country in _COUNTRIES.split("|")}
_LARGE = frozenset({"republic", "kingdom", "empire", "federation", "union", "states"})
_SMALL = frozenset({"county", "parish", "district", "township", "borough", "province", "region"})


def is_country(name: str) -> bool:
    """Tell whether a normalised name is a country's of our list."""
    name = _OTHER_NAMES.get(name, name)
    return _COUNTRY_OF.get(name) == name


def are_known_regions(left: str, right: str) -> bool:
    """Tell whether both names are of countries, states or provinces of our lists."""
    return all(_OTHER_NAMES.get(name, name) in _COUNTRY_OF for name in (left, right))


@lru_cache(maxsize=4096)
def can_be_one_region(left: str, right: str) -> bool:
    """Tell whether one town can be said to lie in both regions.

    :param left: A region's name, normalised.
    :param right: Another's.
    :returns: ``True`` unless the two exclude each other.
    """
    left, right = _OTHER_NAMES.get(left, left), _OTHER_NAMES.get(right, right)
    words, others = set(left.split()), set(right.split())
    if words <= others or others <= words:
        return True
    countries = _COUNTRY_OF.get(left), _COUNTRY_OF.get(right)
    if None not in countries:
        return countries[0] == countries[1] and (left in countries or right in countries)
    if countries == (None, None):
        return bool((words | others) & _LARGE) or bool(words & _SMALL) != bool(others & _SMALL)
    return True

"""Word lists of English that reading questions and checking sentences rest on.

Layer: ``generation``; the standard library only. Data, no logic: what is done with them stands in
:mod:`generation.words`, :mod:`generation.question` and :mod:`generation.verify`.
"""

from __future__ import annotations

__all__ = ["CALENDAR", "IRREGULAR", "NEGATIONS", "NUMBER_WORDS", "OPPOSITES", "STOP_WORDS", "word_set"]


def word_set(text: str) -> frozenset[str]:
    """Return the words of ``text``."""
    return frozenset(text.split())


STOP_WORDS: frozenset[str] = word_set(
    "a about above after again all also am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each either else ever few for from further had has have "
    "having he her here hers herself him himself his how i if in into is it its itself just me more most much my "
    "myself neither no nor not of off on once only or other our ours out over own per same she should so some "
    "such than that the their theirs them themselves then there these they this those through to too under until "
    "up upon very was we were what when where whether which while who whom whose why will with within without "
    "would you your yours according document documents page figure section question please answer tell give "
    "describe explain comment shown mention mentioned say said says name named list many whats"
)
"""Words that say nothing of the subject: English function words, and the words in which people ask."""

_FORMS = (
    "fall: fell fallen; rise: rose risen; grow: grew grown; build: built; begin: began begun; write: wrote written; "
    "win: won; lose: lost; lead: led; buy: bought; sell: sold; bring: brought; teach: taught; think: thought; "
    "take: took taken; give: gave given; go: went gone; come: came; become: became; know: knew known; speak: spoke "
    "spoken; break: broke broken; choose: chose chosen; make: made; find: found; hold: held; keep: kept; leave: left; "
    "meet: met; pay: paid; run: ran; see: saw seen; send: sent; spend: spent; stand: stood; tell: told; wear: wore "
    "worn; draw: drew drawn; drive: drove driven; eat: ate eaten; fly: flew flown; forget: forgot forgotten; sing: "
    "sang sung; swim: swam swum; steal: stole stolen; die: died death; child: children; person: people persons; "
    "foot: feet; man: men; woman: women; marry: marriage; bear: bore born birth; high: height; long: length; "
    "wide: width; deep: depth; old: age ages aged; heavy: weight weigh weighs"
)
IRREGULAR: dict[str, str] = {
    form: entry.split(":")[0].strip() for entry in _FORMS.split(";") for form in entry.split(":")[1].split()
}
"""Forms that no stemmer brings together, by the base form that stands for them."""

_COUNT = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS: dict[str, str] = {word: str(value) for value, word in enumerate(_COUNT.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "billion": "1000000000",
    "half": "0.5",
    "twice": "2",
    "thrice": "3",
    "dozen": "12",
}
"""Number words and their digits."""

CALENDAR: frozenset[str] = word_set(
    "january february march april may june july august september october november december monday tuesday "
    "wednesday thursday friday saturday sunday"
)
"""Months and weekdays: capitals that are no names."""

NEGATIONS: frozenset[str] = word_set(
    "not no never none nobody nothing nor neither without cannot hardly barely n't unable"
)
"""Words that deny what follows them."""

OPPOSITES: tuple[tuple[str, str], ...] = (
    (
        "increase increased rise rose risen grow grew grown gain gained climb climbed",
        "decrease decreased fall fell fallen decline declined drop dropped shrink shrank lose lost reduce reduced",
    ),
    (
        "higher highest more most above larger largest greater greatest bigger biggest maximum",
        "lower lowest less least below smaller smallest fewer fewest minimum",
    ),
    ("before earlier earliest first", "after later latest last"),
    (
        "open opened start started begin began launch launched",
        "close closed end ended stop stopped cancel cancelled shut",
    ),
    (
        "win won succeed succeeded pass passed accept accepted approve approved allow allowed",
        "lose lost fail failed reject rejected refuse refused forbid forbidden prohibit ban banned deny denied",
    ),
    ("older oldest", "younger youngest"),
    ("safe", "unsafe dangerous"),
    ("possible able", "impossible unable"),
    ("true correct", "false incorrect wrong"),
    ("hot hotter warm", "cold colder cool"),
    ("north northern", "south southern"),
    ("east eastern", "west western"),
    ("buy bought purchase purchased", "sell sold"),
)
"""Groups of words of which one side cannot stand for the other."""

"""What common nouns and labels say about the kind of a thing, and which kinds one thing cannot be at once.

Layer: ``kg``; the standard library only. The lists are ours, short on purpose: a word that is not in them says nothing.

A *group* is what an entity recogniser could have labelled (person, place, organisation, work, …). A *class* is finer: a
painter and a footballer are both people. Two groups that the text itself states exclude each other. Two classes of one
group count by the weight of their pair, because people do change trades and towns do lie on rivers of their name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from kg.wordlists import word_set

__all__ = ["LABEL_GROUPS", "NATIONS", "Kind", "class_conflict", "group_conflict", "kinds_of"]


class Kind(NamedTuple):
    """A group and a class in it."""

    group: str
    class_: str


LABEL_GROUPS = {
    "PERSON": "person", "GPE": "place", "LOC": "place", "FAC": "place", "ORG": "organisation",
    "WORK_OF_ART": "work", "LAW": "work", "PRODUCT": "product", "EVENT": "event", "NORP": "people",
    "LANGUAGE": "people",
}  # fmt: skip
"""The group of each label that says one; concepts and unsorted names say none."""

_WORDS = {
    Kind("person", "sport"): "footballer cricketer swimmer runner sprinter athlete boxer wrestler cyclist rower skier "
    "golfer goalkeeper midfielder striker jockey gymnast quarterback pitcher skater sailor racer champion",
    Kind("person", "art"): "painter sculptor illustrator engraver photographer potter weaver artist printmaker "
    "ceramicist cartoonist designer watercolourist",
    Kind("person", "music"): "singer composer musician pianist violinist guitarist drummer rapper conductor organist "
    "cellist songwriter soprano tenor bassist fiddler",
    Kind("person", "stage"): "actor actress director filmmaker comedian dancer screenwriter choreographer presenter "
    "star",
    Kind("person", "letters"): "writer novelist poet playwright journalist author essayist translator editor "
    "columnist biographer",
    Kind("person", "science"): "physicist chemist biologist botanist geologist astronomer mathematician zoologist "
    "scientist ecologist oceanographer geneticist archaeologist meteorologist economist statistician",
    Kind("person", "learning"): "historian philosopher professor linguist scholar lecturer teacher headmaster "
    "headmistress librarian",
    Kind("person", "medicine"): "surgeon physician doctor nurse dentist midwife veterinarian pharmacist",
    Kind("person", "politics"): "politician senator mayor minister president governor ambassador diplomat councillor "
    "chancellor congressman congresswoman",
    Kind("person", "law"): "lawyer judge barrister solicitor attorney magistrate",
    Kind("person", "trade"): "engineer architect businessman businesswoman entrepreneur banker merchant shipbuilder "
    "farmer baker fisherman fisher carpenter plumber electrician chef cook keeper inventor miller smith",
    Kind("person", "military"): "soldier general admiral colonel lieutenant sergeant officer",
    Kind("person", "religion"): "bishop priest monk nun saint abbot vicar missionary",
    Kind("person", "rule"): "king queen prince princess duke duchess emperor empress earl",
    Kind("person", "crime"): "murderer smuggler thief gangster pirate",
    Kind("person", "kin"): "mother father brother sister son daughter wife husband woman man girl boy child",
    Kind("place", "settlement"): "city town village hamlet suburb settlement capital port municipality resort "
    "neighbourhood neighborhood",
    Kind("place", "area"): "county state province country region district territory kingdom republic nation prefecture",
    Kind("place", "water"): "river lake bay sea strait fjord canal creek stream lagoon reservoir waterfall loch",
    Kind("place", "land"): "mountain hill island peninsula valley desert volcano forest cape glacier headland moor "
    "beach reef archipelago",
    Kind("place", "building"): "castle bridge lighthouse station airport tower palace stadium dam "
    "street road square park",
    Kind("place", "harbour"): "harbour harbor pier quay marina anchorage",
    Kind("institution", "house"): "museum school university college hospital church cathedral library theatre "
    "theater hotel abbey monastery prison gallery laboratory observatory institute restaurant pub",
    Kind("organisation", "company"): "company firm manufacturer corporation bank brewery airline startup retailer "
    "publisher shipyard insurer supplier subsidiary bakery brand conglomerate",
    Kind("organisation", "band"): "band orchestra choir quartet trio duo",
    Kind("organisation", "team"): "club team side franchise",
    Kind("organisation", "body"): "organisation organization agency ministry charity foundation association union "
    "party committee council department society federation regulator bureau",
    Kind("organisation", "press"): "newspaper magazine journal broadcaster station",
    Kind("organisation", "label"): "label",
    Kind("work", "film"): "film movie documentary sequel",
    Kind("work", "series"): "series sitcom soap programme",
    Kind("work", "book"): "novel book poem play memoir novella biography textbook trilogy anthology",
    Kind("work", "music"): "album song single opera symphony musical ballad",
    Kind("work", "art"): "painting sculpture mural fresco statue",
    Kind("product", "vehicle"): "ship ferry boat yacht trawler schooner steamship submarine locomotive car aircraft "
    "lifeboat tug",
    Kind("product", "device"): "phone laptop camera engine turbine sensor microscope telescope rocket satellite pump "
    "printer",
    Kind("product", "software"): "software app compiler database framework browser videogame",
    Kind("product", "food"): "cheese beer wine cider biscuit cake drink",
    Kind("product", "drug"): "drug vaccine medicine antibiotic",
    Kind("event", "event"): "battle festival election storm hurricane earthquake war tournament conference exhibition "
    "cyclone flood",
    Kind("sky", "body"): "planet star asteroid comet constellation moon",
    Kind("matter", "element"): "element metal chemical compound mineral alloy",
    Kind("myth", "god"): "god goddess deity nymph titan",
    Kind("life", "animal"): "horse dog cat bird fish insect genus species breed whale",
    Kind("life", "plant"): "plant tree flower shrub fruit fern",
    Kind("people", "language"): "language dialect tribe",
}  # fmt: skip


def _by_word() -> dict[str, tuple[Kind, ...]]:
    found: dict[str, list[Kind]] = {}
    for kind, words in _WORDS.items():
        for word in words.split():
            found.setdefault(word, []).append(kind)
    return {word: tuple(kinds) for word, kinds in found.items()}


_KINDS = _by_word()

NATIONS = word_set(
    "american british english scottish welsh irish french german italian spanish portuguese dutch belgian swiss "
    "austrian swedish norwegian danish finnish icelandic polish czech hungarian romanian bulgarian greek turkish "
    "russian ukrainian chinese japanese korean indian pakistani australian canadian mexican brazilian argentine "
    "chilean colombian peruvian egyptian nigerian kenyan ethiopian israeli iranian iraqi syrian lebanese estonian "
    "latvian lithuanian croatian serbian slovenian slovak jamaican cuban vietnamese thai indonesian filipino "
    "malaysian zealander african european"
)
"""Adjectives of nations, as they stand before what somebody is."""

_SAME_PERSON = frozenset(
    frozenset(pair.split("-"))
    for pair in word_set(
        "stage-music stage-letters stage-politics stage-art stage-sport stage-trade letters-politics letters-science "
        "letters-art letters-music letters-learning letters-law letters-religion letters-trade letters-medicine "
        "letters-military politics-law politics-trade politics-military politics-rule politics-learning "
        "politics-science politics-sport politics-medicine politics-religion military-rule military-sport "
        "military-trade military-crime science-learning science-medicine science-trade science-religion "
        "religion-learning religion-rule art-trade art-learning art-music music-learning law-learning law-trade "
        "sport-learning medicine-learning crime-trade"
    )
)
"""Classes that one person often has together, which therefore say nothing against one person."""

_FAR_FROM_SPORT = frozenset({"art", "science", "religion", "medicine", "letters", "music"})
_CLASS_WEIGHTS = {
    frozenset({"settlement", "water"}): 0.8,
    frozenset({"settlement", "land"}): 0.4,
    frozenset({"settlement", "area"}): 0.2,
    frozenset({"settlement", "building"}): 0.6,
    frozenset({"settlement", "harbour"}): 0.2,
    frozenset({"water", "harbour"}): 0.2,
    frozenset({"water", "land"}): 0.6,
    frozenset({"water", "area"}): 0.6,
    frozenset({"film", "book"}): 0.4,
    frozenset({"film", "series"}): 0.4,
    frozenset({"company", "label"}): 0.2,
    frozenset({"company", "press"}): 0.2,
    frozenset({"company", "body"}): 0.4,
    frozenset({"body", "team"}): 0.4,
    frozenset({"body", "press"}): 0.4,
}
_OTHER_CLASSES = 0.6
_GROUP_WEIGHTS = {
    frozenset({"institution", "organisation"}): 0.0,
    frozenset({"institution", "place"}): 0.0,
    frozenset({"organisation", "place"}): 0.7,
    frozenset({"organisation", "product"}): 0.8,
    frozenset({"organisation", "work"}): 0.8,
    frozenset({"work", "product"}): 0.6,
    frozenset({"people", "place"}): 0.3,
    frozenset({"people", "organisation"}): 0.5,
    frozenset({"event", "organisation"}): 0.5,
    frozenset({"event", "work"}): 0.6,
    frozenset({"event", "place"}): 0.6,
    frozenset({"matter", "product"}): 0.6,
    frozenset({"life", "product"}): 0.6,
}  # fmt: skip


def kinds_of(word: str) -> tuple[Kind, ...]:
    """Return what a common noun says a thing is; nothing where the lists do not know it.

    :param word: A noun in lower case, singular or plural.
    :returns: Its kinds; ``station`` has two.
    """
    return _KINDS.get(word) or (_KINDS.get(word[:-1], ()) if word.endswith("s") else ())


def group_conflict(left: str, right: str) -> float:
    """Return how much it speaks against one thing that two groups were stated of it, in ``[0, 1]``."""
    return 0.0 if left == right else _GROUP_WEIGHTS.get(frozenset({left, right}), 1.0)


@lru_cache(maxsize=4096)
def class_conflict(left: frozenset[Kind], right: frozenset[Kind]) -> float:
    """Return how much it speaks against one thing that these were stated of it: the least of all pairs, in ``[0, 1]``.

    :param left: The kinds of one side.
    :param right: The kinds of the other.
    :returns: 0 where either side is empty or the two share a kind.
    """
    return min((_pair_conflict(a, b) for a in left for b in right), default=0.0)


def _pair_conflict(a: Kind, b: Kind) -> float:
    if a == b:
        return 0.0
    if a.group != b.group:
        return group_conflict(a.group, b.group)
    pair = frozenset({a.class_, b.class_})
    if a.group != "person":
        return _CLASS_WEIGHTS.get(pair, _OTHER_CLASSES)
    if "kin" in pair or pair in _SAME_PERSON:
        return 0.0
    return 0.8 if "sport" in pair and pair & _FAR_FROM_SPORT else 0.4

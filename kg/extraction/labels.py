"""Say what kind of thing a name names, by its own words and by the words around it.

Layer: ``kg``; the standard library only. There is no list of names here, only of words that kinds of names are made
of, so a name nobody has heard of is judged like a famous one.

Evidence, strongest first: the name's own words ("Selke River", "Delta Chem GmbH", "Dr. Cho"); what the text says it
is ("the ferry Aurora", "X is a town"); the recogniser of the parser; the label the same name has elsewhere in the
document. A stronger one overrules a weaker one.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from kg.resolution import normalise_name
from kg.wordlists import word_set

__all__ = [
    "KIND_LABELS",
    "PERSON_NOUNS",
    "TITLES",
    "is_person_noun",
    "is_title",
    "label_by_form",
    "label_of_kind",
    "most_used",
    "name_key",
]

TITLES = word_set(
    "mr mrs ms miss mx dr prof professor sir dame lady lord president senator governor king queen prince princess "
    "count countess duke duchess baron baroness general colonel major captain lieutenant sergeant admiral inspector "
    "judge justice minister chancellor mayor pope saint bishop archbishop cardinal rabbi imam emperor empress reverend "
    "father sister brother uncle aunt chairman chairwoman"
)
"""What stands before a person's name, in lower case, without its full stop."""

_LAST: dict[str, str] = {
    word: label
    for label, words in {
        "ORG": "ltd limited gmbh inc incorporated corp corporation ag kg se plc llc llp sa bv nv oy ab asa spa srl as "
        "kk co company companies university institute college school bank agency ministry department council committee "
        "commission association foundation society club union party press records group holdings industries airlines "
        "airways hospital clinic court laboratory laboratories museum gallery academy orchestra games foods motors "
        "pharma books savings trust estates partners railway railways times post institution organization "
        "organisation federation league army navy police authority board bureau church theatre library service "
        "services technologies systems software electronics energy studios entertainment pictures "
        "team fund brewery publishers",
        "GPE": "county province city town state kingdom republic district region municipality canton prefecture "
        "village borough emirate",
        "LOC": "river lake sea ocean mountain mountains peak valley island islands bay desert forest glacier cape "
        "peninsula gulf strait hill hills canal creek volcano plateau coast reef falls basin fjord canyon delta",
        "FAC": "bridge tower castle palace stadium airport station street road avenue square cathedral viaduct tunnel "
        "dam harbour harbor hall building arena lighthouse plaza temple mosque abbey chapel monument cemetery "
        "observatory boulevard lane highway motorway terminal plant cafe café pub hotel",
        "WORK_OF_ART": "award prize medal trophy",
        "EVENT": "war battle festival olympics championship championships cup conference revolution trial summit "
        "election earthquake hurricane expedition marathon tournament uprising massacre",
        "LAW": "act treaty constitution directive convention ordinance amendment",
        "NORP": "",
    }.items()
    for word in words.split()
}  # fmt: skip
_FIRST: dict[str, str] = {
    "lake": "LOC", "mount": "LOC", "cape": "LOC", "gulf": "LOC", "river": "LOC", "isle": "LOC", "strait": "LOC",
    "university": "ORG", "bank": "ORG", "ministry": "ORG", "court": "ORG", "institute": "ORG", "museum": "ORG",
    "department": "ORG", "academy": "ORG", "society": "ORG", "house": "ORG", "bridge": "FAC", "tower": "FAC",
    "battle": "EVENT", "siege": "EVENT", "treaty": "LAW", "republic": "GPE", "kingdom": "GPE", "city": "GPE",
    "county": "GPE", "province": "GPE", "state": "GPE", "duchess": "PERSON", "duke": "PERSON", "count": "PERSON",
    "countess": "PERSON", "king": "PERSON", "queen": "PERSON", "prince": "PERSON", "version": "PRODUCT",
}  # fmt: skip
_INNER: dict[str, str] = {
    "court": "ORG", "university": "ORG", "institute": "ORG", "treaty": "LAW", "act": "LAW", "battle": "EVENT",
    "ministry": "ORG", "museum": "ORG", "hospital": "ORG", "college": "ORG",
}  # fmt: skip
_CODE = re.compile(r"(?:[A-Z][\w-]* )?(?:[A-Z]{1,4}-?\d{1,5}[A-Za-z]{0,2}|[A-Z]\d(?:-?\d+)*)\Z")
_ABBREVIATION = re.compile(r"(?:S\.A|B\.V|N\.V|S\.p\.A|A/S|& Co)\.?\Z")

KIND_LABELS: dict[str, str] = {
    word: label
    for label, words in {
        "ORG": "company firm institute agency bank organisation organization university museum school court board "
        "council club team band group party union hospital laboratory foundation newspaper corporation manufacturer "
        "publisher brand startup charity college society committee ministry department authority railway airline "
        "retailer subsidiary orchestra choir association federation enterprise supplier bakery shop brewery "
        "broadcaster rival academy business cooperative regiment army",
        "GPE": "city town village country state county province capital municipality republic kingdom district suburb "
        "nation borough region",
        "LOC": "river lake mountain island sea valley peak volcano desert peninsula bay forest planet glacier ocean "
        "moon hill mine coast",
        "FAC": "bridge building tower castle stadium station church airport road street cathedral lighthouse tunnel "
        "dam harbour harbor palace hotel monument library theatre theater abbey temple motorway plant",
        "WORK_OF_ART": "film movie book novel play song album painting poem series opera sculpture documentary "
        "symphony essay musical award prize medal sitcom magazine comic",
        "EVENT": "battle war festival conference trial championship tournament election revolution expedition",
        "PRODUCT": "ship ferry car drone probe game engine computer phone aircraft device software program programme "
        "application tool camera rocket satellite satellites vitamin drug printer pump sensor app library language "
        "framework operating vessel boat locomotive submarine spacecraft rifle tank",
        "LAW": "treaty act agreement law statute constitution contract lease directive",
    }.items()
    for word in words.split()
}  # fmt: skip
"""What common nouns say about the name they are said of."""
del KIND_LABELS["operating"]

PERSON_NOUNS = word_set(
    "man woman boy girl child person mathematician author king queen chairman chairwoman chief head boss student "
    "nephew niece uncle aunt cousin brother sister father mother son daughter wife husband widow widower friend "
    "neighbour neighbor guest poet hero nurse cook judge monk nun patient tenant witness thief president agent "
    "assistant architect athlete chemist clerk consultant composer diplomat engineer executive guard guide merchant "
    "musician native novelist officer patron physician pilot politician priest resident scientist servant soldier "
    "spouse tailor trustee tutor victim veteran mayor heir champion expert"
)
"""Common nouns for people that :func:`is_person_noun` could not tell by their endings."""
_PERSON_ENDINGS = ("ist", "ian", "man", "woman", "person", "eer", "ess")
_MAKERS = word_set(
    "actor author baker banker builder buyer carpenter climber coach commander conductor curator dancer dealer "
    "designer developer director doctor driver editor employer explorer farmer fighter fisher firefighter founder "
    "gardener governor hunter investor inventor jeweller jeweler lawyer leader lecturer maker manager member messenger "
    "minister officer owner painter photographer player printmaker producer professor programmer prisoner reporter "
    "researcher ruler sailor sculptor singer speaker striker successor predecessor supervisor surveyor teacher trader "
    "trainer traveller treasurer villager voter waiter winner worker writer drummer engraver examiner inspector "
    "operator senator sponsor translator user viewer visitor warrior weaver newcomer partner landowner settler "
    "rider auditor"
)


def is_person_noun(lemma: str) -> bool:
    """Tell whether a common noun stands for a human being."""
    return lemma in PERSON_NOUNS or lemma in _MAKERS or (len(lemma) > 5 and lemma.endswith(_PERSON_ENDINGS))


def is_title(word: str) -> bool:
    """Tell whether a word, in lower case, stands before names of people: "Dr", "mayor", "striker"."""
    return word.rstrip(".") in TITLES or is_person_noun(word)


def label_of_kind(lemma: str) -> str:
    """Return the label of a name that is said to be a ``lemma``; empty where the noun does not tell."""
    return KIND_LABELS.get(lemma, "PERSON" if is_person_noun(lemma) else "")


def label_by_form(name: str, *, before: str = "") -> str:
    """Return the label that the words of a name give it, empty where they do not tell.

    :param name: The name as it stands.
    :param before: The word before it.
    :returns: A label.
    """
    words = [word for word in re.split(r"[\s–-]+", name.replace(".", "").strip()) if word]
    if not words or not name[:1].isalpha():
        return ""
    first, last = words[0].lower(), words[-1].lower()
    if before.rstrip(".").lower() in TITLES and before[:1].isupper():
        return "PERSON"
    if len(words) >= 2:
        if first in TITLES and words[1][:1].isupper() and last not in _LAST:
            return "PERSON"
        if last in _LAST and words[-1][:1].isupper():
            return _LAST[last]
        if first in _FIRST and (words[1].lower() == "of" or _FIRST[first] in ("LOC", "PRODUCT")):
            return _FIRST[first]
        inner = next((_INNER[w.lower()] for w in words[1:-1] if w[:1].isupper() and w.lower() in _INNER), "")
        if inner:
            return inner
    if _ABBREVIATION.search(name):
        return "ORG"
    return "PRODUCT" if _CODE.match(name) and not name.isalpha() else ""


@functools.lru_cache(maxsize=8192)
def name_key(name: str) -> str:
    """Return the normalised form of a name; a document says most of its names often."""
    return normalise_name(name)


def most_used(uses: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return for each key the label it has most often; ties go to the label that was seen first.

    :param uses: Pairs of key and label.
    :returns: Label by key.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, label in uses:
        counts[key][label] += 1
    return {key: counter.most_common(1)[0][0] for key, counter in counts.items()}

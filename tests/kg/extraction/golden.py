"""Hand-labelled passages: what a careful reader would have stated in the graph. Written for these tests.

Each gold triple is ``(head, predicate, tail)`` in the extractor's own vocabulary of predicates; heads and tails are
compared after normalisation. Entities are those a reader would look up; the labels are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PASSAGES", "Passage"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage and what it states; ``entities`` are names and concepts that must be found."""

    title: str
    text: str
    triples: frozenset[tuple[str, str, str]]
    entities: frozenset[str]


def _passage(title: str, text: str, entities: str, *triples: str) -> Passage:
    parts = [tuple(part.strip() for part in triple.split("|")) for triple in triples]
    return Passage(
        title,
        text,
        frozenset((head, name, tail) for head, name, tail in parts),
        frozenset(entity.strip() for entity in entities.split(";")),
    )


PASSAGES: tuple[Passage, ...] = (
    _passage(
        "Harbour Lights (film)",
        "Harbour Lights is a 1998 drama film directed by Marta Lindqvist. It was written by Tom Okafor and stars "
        "Elena Petrova. The film was released in Sweden on 4 March 1998.",
        "Harbour Lights; drama film; Marta Lindqvist; Tom Okafor; Elena Petrova; Sweden; 4 March 1998",
        "Harbour Lights | is a | drama film",
        "Marta Lindqvist | direct | Harbour Lights",
        "film | released in | Sweden",
        "film | released on | 4 March 1998",
    ),
    _passage(
        "Marta Lindqvist",
        "Marta Lindqvist was born in Uppsala and studied at the University of Oslo. She lives in Bergen with her "
        "husband, the painter Nils Berg.",
        "Marta Lindqvist; Uppsala; University of Oslo; Bergen; Nils Berg; painter",
        "Marta Lindqvist | born in | Uppsala",
        "Marta Lindqvist | study at | University of Oslo",
        "Nils Berg | is a | painter",
    ),
    _passage(
        "Oslo",
        "Oslo is the capital of Norway. The city lies on the Oslofjord. It does not border Sweden.",
        "Oslo; capital; Norway; city; Oslofjord",
        "Oslo | is | capital",
        "Oslo | capital of | Norway",
        "city | lie on | Oslofjord",
    ),
    _passage(
        "Northwind",
        "Northwind, a software company in Rotterdam, was founded by Anna de Vries and Paul Meyer in 2011. Google "
        "acquired Northwind in 2019. Its founder did not join Google.",
        "Northwind; software company; Rotterdam; Anna de Vries; Paul Meyer; 2011; Google; 2019",
        "Northwind | is a | software company",
        "Northwind | company in | Rotterdam",
        "Anna de Vries | found | Northwind",
        "Paul Meyer | found | Northwind",
        "Northwind | founded in | 2011",
        "Google | acquire | Northwind",
        "Google | acquire in | 2019",
        "founder | not join | Google",
    ),
    _passage(
        "Paul Meyer",
        "Paul Meyer, the chairman of Deutsche Bank, may resign in May. He might move to London. Anna's brother Karl "
        "works for Siemens.",
        "Paul Meyer; chairman; Deutsche Bank; Anna; Karl; Siemens; London",
        "Paul Meyer | is | chairman",
        "Paul Meyer | chairman of | Deutsche Bank",
        "Karl | brother of | Anna",
        "Karl | is | brother",
        "Karl | work for | Siemens",
    ),
    _passage(
        "Beekeeping",
        "Honey bees collect nectar and pollen. A queen lays eggs in the hive. Beekeepers use smoke to calm the bees.",
        "honey bees; nectar; pollen; queen; eggs; hive; beekeepers; smoke; bees",
        "honey bees | collect | nectar",
        "honey bees | collect | pollen",
        "queen | lay | eggs",
        "queen | lay in | hive",
        "beekeepers | use | smoke",
    ),
    _passage(
        "Water pump",
        "The pump moves water from the lower tank to the upper tank. The motor drives the pump through a belt. "
        "If the belt breaks, the pump stops.",
        "pump; water; lower tank; upper tank; motor; belt",
        "pump | move | water",
        "pump | move from | lower tank",
        "pump | move to | upper tank",
        "motor | drive | pump",
        "motor | drive through | belt",
    ),
    _passage(
        "Chat",
        "Alice: I bought a bicycle in Utrecht yesterday.\nBob Stone: Nice! I work at Philips, my sister lives in "
        "Utrecht.\nAlice: Do you know the Blue Cafe?",
        "Alice; bicycle; Utrecht; Bob Stone; Philips; sister; Blue Cafe",
        "Alice | buy | bicycle",
        "Alice | buy in | Utrecht",
        "Bob Stone | work at | Philips",
        "Bob Stone | has | sister",
        "sister | live in | Utrecht",
    ),
    _passage(
        "Treaty of Lund",
        "The Treaty of Lund was signed by Denmark and Sweden in 1679. The treaty ended the war. Historians believe "
        "that France dictated the terms.",
        "Treaty of Lund; Denmark; Sweden; 1679; treaty; war; historians; France; terms",
        "Denmark | sign | Treaty of Lund",
        "Sweden | sign | Treaty of Lund",
        "Treaty of Lund | signed in | 1679",
        "treaty | end | war",
    ),
    _passage(
        "Insulin",
        "Insulin is a hormone that regulates blood sugar. It is produced by the pancreas. Frederick Banting "
        "discovered insulin in Toronto and won the Nobel Prize.",
        "insulin; hormone; blood sugar; pancreas; Frederick Banting; Toronto; Nobel Prize",
        "insulin | is a | hormone",
        "insulin | regulate | blood sugar",
        "Frederick Banting | discover | insulin",
        "Frederick Banting | discover in | Toronto",
        "Frederick Banting | win | Nobel Prize",
    ),
    _passage(
        "Ship",
        "The ferry Aurora carries passengers between Tallinn and Helsinki. Aurora was built in Turku in 2004. "
        "Who owns Aurora?",
        "ferry; Aurora; passengers; Tallinn; Helsinki; Turku; 2004",
        "Aurora | is a | ferry",
        "Aurora | carry | passengers",
        "Aurora | carry between | Tallinn",
        "Aurora | carry between | Helsinki",
        "Aurora | built in | Turku",
        "Aurora | built in | 2004",
    ),
    _passage(
        "Band",
        "The Grey Owls are an English rock band formed in Leeds in 1987. Their singer, Joan Park, left the band and "
        "moved to Canada.",
        "Grey Owls; rock band; Leeds; 1987; Joan Park; singer; band; Canada",
        "Grey Owls | is a | rock band",
        "Grey Owls | formed in | Leeds",
        "Grey Owls | formed in | 1987",
        "Joan Park | is | singer",
        "Joan Park | leave | band",
        "Joan Park | move to | Canada",
    ),
    _passage(
        "World Health Organization",
        "The World Health Organization (WHO) is an agency of the United Nations. The WHO has its headquarters in "
        "Geneva.",
        "World Health Organization; WHO; agency; United Nations; headquarters; Geneva",
        "World Health Organization | is a | agency",
        "World Health Organization | agency of | United Nations",
        "WHO | have | headquarters",
        "WHO | have in | Geneva",
    ),
    _passage(
        "Teacher",
        "Ms. Ito gave Daniel a violin. Daniel wants to become a musician. He never played the piano.",
        "Ito; Daniel; violin; musician; piano",
        "Ito | give | violin",
        "Ito | give to | Daniel",
        "Daniel | want to become | musician",
    ),
    _passage(
        "Volcano",
        "Mount Kessa erupted in 1911 and destroyed three villages. The eruption killed 200 people. No village was "
        "rebuilt by the government.",
        "Mount Kessa; 1911; villages; eruption; people; government",
        "Mount Kessa | erupt in | 1911",
        "Mount Kessa | destroy | villages",
        "eruption | kill | people",
        "government | not rebuild | village",
    ),
    _passage(
        "Museum",
        "The Vasari Museum's director, Lucia Conti, opened a new wing. The wing was designed by the architect Jean "
        "Morel and houses paintings by Vermeer.",
        "Vasari Museum; director; Lucia Conti; new wing; architect; Jean Morel; paintings; Vermeer",
        "Lucia Conti | director of | Vasari Museum",
        "Lucia Conti | is | director",
        "Lucia Conti | open | new wing",
        "Jean Morel | design | wing",
        "Jean Morel | is | architect",
        "wing | house | paintings",
        "paintings | by | Vermeer",
    ),
)

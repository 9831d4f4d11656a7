"""Hand-labelled passages: what a careful reader would have stated in the graph. Written for these tests.

The passages stand in ``passages/*.txt``. Each was labelled from its text before the new extractor had read it, in
its vocabulary of relations (:mod:`kg.extraction.relations`). ``[dev]`` passages were looked at as rules were written,
and some 18 of their 400 triples were then relabelled to one convention (some towards what the extractor says), so their
figures are of regression, not of quality. The labels of ``[held]`` ones have not been changed since, and their errors
were never looked at; their totals were seen while the rules were written, by the hand that wrote both.

Format: ``# [dev] Title``, the text, then lines that begin with ``@`` (``@entities Name LABEL; …``, ``@values name =
value; …``, ``@refs words = name; …`` for the first place of these words, ``@date`` of the document, ``@kind table``),
then one gold triple a line, ``head | relation | tail``, with names for pronouns. `` ?`` behind a triple marks what is
reported, intended or only possible. What is negated, asked or conditional is not labelled: it must not be found.
Names of peoples are no part of a noun phrase (``mathematician`` of "a Danish mathematician"); what stands before a
name with an article is a kind (``is a``), with an owner it is the one (``is``). Relative dates are labelled where the
document has a date. Counted things whose number is in digits are one quantity (``200 people``); of a noun's
prepositions only those are labelled that lead to a name or a number, or have a name before them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PASSAGES", "Passage", "load_passages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A passage and what it states. ``triples`` map each to whether it is hedged."""

    title: str
    text: str
    genre: str
    is_held_out: bool
    date: str = ""
    is_table: bool = False
    triples: dict[tuple[str, str, str], bool] = field(default_factory=dict)
    entities: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)


_HEAD = re.compile(r"# \[(dev|held)\] (.+)")


def load_passages(folder: Path) -> tuple[Passage, ...]:
    """Read every passage of ``folder``, by file and place."""
    found: list[Passage] = []
    for path in sorted(folder.glob("*.txt")):
        for block in re.split(r"\n(?=# \[)", path.read_text(encoding="utf-8").strip()):
            found.append(_passage(block, genre=path.stem))
    return tuple(found)


def _passage(block: str, *, genre: str) -> Passage:
    first, *lines = block.strip().split("\n")
    head = _HEAD.fullmatch(first)
    if head is None:
        raise ValueError(f"{genre}.txt: a passage begins with '# [dev] Title', found {first!r}.")
    fields = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines if line.startswith("@")}
    triples: dict[tuple[str, str, str], bool] = {}
    text: list[str] = []
    for line in lines:
        parts = [part.strip() for part in line.removesuffix(" ?").split(" | ")]
        if len(parts) == 3 and "@entities" in fields and not line.startswith("@"):
            triples[parts[0], parts[1], parts[2]] = line.endswith(" ?")
        elif not line.startswith("@"):
            text.append(line)
    return Passage(
        title=head.group(2),
        text="\n".join(text).strip(),
        genre=genre,
        is_held_out=head.group(1) == "held",
        date=fields.get("@date", ""),
        is_table=fields.get("@kind") == "table",
        triples=triples,
        entities=dict(item.strip().rsplit(" ", 1) for item in fields.get("@entities", "").split(";") if item.strip()),
        values=_pairs(fields.get("@values", "")),
        refs=_pairs(fields.get("@refs", "")),
    )


def _pairs(text: str) -> dict[str, str]:
    return {
        key.strip(): value.strip() for key, value in (item.split(" = ") for item in text.split(";") if item.strip())
    }


PASSAGES: tuple[Passage, ...] = load_passages(Path(__file__).parent / "passages")

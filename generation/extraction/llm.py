"""Find entities and statements with a language model whose replies are held to a JSON schema.

Layer: ``generation``; satisfies :class:`kg.ports.Extractor`.
Sources: gleaning passes after Edge et al. 2024, arXiv:2404.16130, appendix A.2; schema-constrained decoding is the
model's work (:mod:`generation.models.json_mode`).

``chunk → prompt → JSON (→ gleaning → JSON …) → names and statements that stand in the text → Extraction``

Replies are kept by the content of what was asked (model, prompt, schema, text), so reading a corpus again, or a new
version of a document whose chunks are mostly the old ones, costs only what is new.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from generation.extraction.grounding import Said, ground, merge, parse_reply
from generation.prompting import render_template
from generation.types import JsonModel, Message, ReplyCache
from kg.errors import ExtractionError, GenerationError, InputError
from kg.extraction.ontology import Ontology
from kg.ids import sha256_hex
from kg.types import Chunk, Document, Extraction

__all__ = ["DEFAULT_TYPES", "LanguageModelExtractor", "reply_schema"]

DEFAULT_TYPES = (
    "PERSON", "ORG", "GPE", "LOC", "FAC", "PRODUCT", "EVENT", "WORK_OF_ART", "LAW", "DATE", "QUANTITY", "CONCEPT"
)  # fmt: skip
"""OntoNotes 5.0's names, as the rule extractor uses them, so that both build the same graph."""

SCORE = 0.7
"""The confidence of a statement that a model made and whose names stand in its text: moderate, for the text was not
asked whether it says just this."""

_MAX_ITEMS = 40  # of each kind in one reply
_PROMPT_VERSION = "x1"
_log = logging.getLogger(__name__)


def reply_schema(ontology: Ontology | None) -> dict[str, Any]:
    """Return the JSON schema of a reply (draft 2020-12).

    :param ontology: Its types are the only ones allowed; its relations too, if it is closed.
    :returns: An object with ``entities`` (name, type) and ``relations`` (head, relation, tail).
    """
    types = list(ontology.entities) if ontology is not None and ontology.entities else list(DEFAULT_TYPES)
    name = {"type": "string", "minLength": 1, "maxLength": 120}
    relation: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 60}
    if ontology is not None and ontology.is_closed and ontology.relations:
        relation = {"type": "string", "enum": list(ontology.relations)}
    return {
        "type": "object",
        "properties": {
            "entities": _list_of({"name": name, "type": {"type": "string", "enum": types}}),
            "relations": _list_of({"head": name, "relation": relation, "tail": name}),
        },
        "required": ["entities", "relations"],
        "additionalProperties": False,
    }


def _list_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    item = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "array", "maxItems": _MAX_ITEMS, "items": item}


class LanguageModelExtractor:
    """Asks a model of each chunk. It holds no state but the cache.

    :param model: Writes JSON.
    :param ontology: Types and relations to look for; statements it does not allow are refused by
        :meth:`kg.extraction.ontology.Ontology.apply`, which the wiring puts behind every extractor.
    :param gleanings: How often the model is asked what it missed, >= 0; a round that brings nothing new is the last.
        GraphRAG's default is 1.
    :param max_new_tokens: The longest reply.
    :param cache: Keeps replies; ``None`` keeps none.
    :raises InputError: If a number is out of range.
    """

    def __init__(
        self,
        model: JsonModel,
        *,
        ontology: Ontology | None = None,
        gleanings: int = 1,
        max_new_tokens: int = 768,
        cache: ReplyCache | None = None,
    ) -> None:
        if gleanings < 0 or max_new_tokens < 1:
            raise InputError(
                "LanguageModelExtractor: need gleanings >= 0 and max_new_tokens >= 1, "
                f"got {gleanings} and {max_new_tokens}."
            )
        self.name = f"llm:{model.name}"
        self._model = model
        self._ontology = ontology
        self._gleanings = gleanings
        self._max_new_tokens = max_new_tokens
        self._cache = cache
        self._schema = reply_schema(ontology)

    def extract(self, chunks: Sequence[Chunk], *, document: Document) -> Extraction:
        """Read each chunk.

        :param chunks: Chunks of ``document``.
        :param document: Gives the title.
        :returns: Unresolved mentions and triples, by chunk; ``refused`` are statements about names that are not there.
        :raises ExtractionError: If the model cannot be reached or run.
        """
        system = self._system()
        parts = [self._extract_one(chunk, document, system) for chunk in chunks]
        return Extraction(
            mentions=tuple(mention for part in parts for mention in part.mentions),
            triples=tuple(triple for part in parts for triple in part.triples),
            refused=tuple(refused for part in parts for refused in part.refused),
        )

    def _system(self) -> str:
        ontology = self._ontology
        return render_template(
            "extract_system.jinja",
            {
                "entity_types": list(ontology.entities.values()) if ontology is not None else [],
                "relations": list(ontology.relations.values()) if ontology is not None else [],
                "closed": ontology is not None and ontology.is_closed,
            },
        )

    def _extract_one(self, chunk: Chunk, document: Document, system: str) -> Extraction:
        user = render_template("extract.jinja", {"title": document.title, "text": chunk.text})
        messages = [Message(role="system", content=system), Message(role="user", content=user)]
        said = self._ask(messages, chunk, document)
        for _ in range(self._gleanings):
            if not said.entities and not said.relations:
                break  # nothing was found at all; asking what else there is invites inventions
            messages = [
                *messages[:2],
                Message(role="assistant", content=_as_json(said)),
                Message(role="user", content=render_template("glean.jinja", {})),
            ]
            more = merge(said, self._ask(messages, chunk, document))
            if more.entities == said.entities and more.relations == said.relations:
                break
            said = more
        return ground(said, chunk, extractor=self.name, score=SCORE)

    def _ask(self, messages: Sequence[Message], chunk: Chunk, document: Document) -> Said:
        key = self._key(messages)
        kept = self._cache.get(key) if self._cache is not None else None
        if kept is not None:
            return parse_reply(kept)
        try:
            reply = self._model.write_json(messages, schema=self._schema, max_new_tokens=self._max_new_tokens)
        except GenerationError as error:
            raise ExtractionError(
                f"{document.name}: {self._model.name} could not read chunk {chunk.ordinal}: {error}"
            ) from error
        said = parse_reply(reply)
        if not said.is_whole:
            _log.info("%s, chunk %d: the reply broke off; what was finished is kept", document.name, chunk.ordinal)
        if self._cache is not None:
            self._cache.put(key, reply, text_sha256=sha256_hex(chunk.text.encode("utf-8", "surrogatepass")))
        return said

    def _key(self, messages: Sequence[Message]) -> str:
        asked = {
            "version": _PROMPT_VERSION,
            "model": self._model.name,
            "messages": [[message.role, message.content] for message in messages],
            "schema": self._schema,
            "max_new_tokens": self._max_new_tokens,
        }
        return sha256_hex(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _as_json(said: Said) -> str:
    return json.dumps(
        {
            "entities": [{"name": e.name, "type": e.type} for e in said.entities],
            "relations": [{"head": r.head, "relation": r.relation, "tail": r.tail} for r in said.relations],
        },
        ensure_ascii=False,
    )

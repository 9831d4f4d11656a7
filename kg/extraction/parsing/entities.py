"""Named entities by spaCy's transition model, decoded for a batch of texts at once.

Layer: ``kg``; NumPy and a loaded spaCy model. Source: spaCy 3.8, ``ner.pyx``, ``_state.pxd`` and ``parser_model.pyx``.

The recogniser reads a text from left to right. Outside an entity it chooses ``O``, ``U-label`` (an entity of one token)
or ``B-label`` (the first of many); inside one, ``I-label`` or ``L-label`` (the last) of the label that is open. What it
sees is the token, and inside an entity also its first token and the token before. So the choice outside depends on one
token alone and is made for all at once; each ``B`` is then extended, all in step; and one walk over the starts drops
those that lie within an entity that began before.

The rules of what is allowed: no entity begins with white space; ``B`` and ``I`` need a token to follow in the same
sentence. So an entity never stays open. Ties go to the move of the lower number.

Shape suffixes: N tokens of the batch, A open entities, C moves, H hidden width, P pieces of maxout.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kg.extraction.parsing.dependencies import attrs_are_plain
from kg.extraction.parsing.vectors import TokenVectors

if TYPE_CHECKING:
    from spacy.tokens import Doc
else:
    Doc = Any

__all__ = ["EntityDecoder"]

_LABELLED = "BILU"
_UNSET = "U-"  # A token that must stay outside entities: valid only where a text was annotated before.


class EntityDecoder:
    """Finds what ``EntityRecognizer`` finds in texts that hold no entities yet.

    :param pipe: A component for which :meth:`fits` holds.
    """

    def __init__(self, pipe: Any) -> None:
        model = pipe.model
        tok2vec, _, self._narrow = model.get_ref("tok2vec").layers
        self._vectors = TokenVectors(tok2vec)
        self._lower, upper = model.get_ref("lower"), model.get_ref("upper")
        self._n_pieces = int(self._lower.get_dim("nP"))
        self._weights_CH, self._bias_C = upper.get_param("W"), upper.get_param("b")
        names = _move_names(pipe)
        self._labels = sorted({name[2:] for name in names if name[:2] == "B-"})
        number = {label: n for n, label in enumerate(self._labels)}
        # Moves outside an entity, in the order of their numbers, so that the first of equals wins as in spaCy.
        self._outside = np.array([c for c, name in enumerate(names) if name == "O" or _is(name, "BU")])
        self._begins = np.array([_is(names[c], "B") for c in self._outside])
        self._is_out = np.array([names[c] == "O" for c in self._outside])
        self._label_of = np.array([number.get(names[c][2:], -1) for c in self._outside])
        self._inside = np.array([names.index(f"I-{label}") for label in self._labels])
        self._last = np.array([names.index(f"L-{label}") for label in self._labels])

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Tell whether ``pipe`` is spaCy's greedy recogniser with three features and four moves for each label."""
        from spacy.pipeline import EntityRecognizer

        if type(pipe) is not EntityRecognizer or pipe.cfg["beam_width"] != 1 or not attrs_are_plain(pipe.model.attrs):
            return False
        lower, layers = pipe.model.get_ref("lower"), pipe.model.get_ref("tok2vec").layers
        if [layer.name for layer in layers[1:]] != ["list2array", "linear"] or not TokenVectors.fits(layers[0]):
            return False
        names = _move_names(pipe)
        labels = {name[2:] for name in names if _is(name, _LABELLED)}
        wanted = {"O", *(f"{kind}-{label}" for kind in _LABELLED for label in labels)}
        is_whole = set(names) - {_UNSET} == wanted and len(set(names)) == len(names)
        return is_whole and bool(labels) and lower.get_dim("nF") == 3 and lower.get_dim("nP") > 1

    def find(self, docs: Sequence[Doc]) -> list[list[tuple[int, int, str]]]:
        """Find the entities of ``docs``, which must hold none yet.

        :param docs: Texts with sentence starts.
        :returns: For each text ``(start, end, label)`` in tokens, in order, without overlaps.
        """
        lengths = [len(doc) for doc in docs]
        if not any(lengths):
            return [[] for _ in docs]
        vectors_ND = self._narrow.predict(np.concatenate(self._vectors.of(docs)))
        # Row 0 stands for a token that is not there; token n is row n + 1.
        table = self._lower.predict(vectors_ND).reshape(sum(lengths) + 1, 3, -1)
        may_go_on, is_space = _places(docs, lengths)
        starts, labels, is_begin = self._starts(table, may_go_on, is_space)
        ends = starts + 1
        ends[is_begin] = self._extend(table, may_go_on, starts[is_begin], labels[is_begin])
        return self._walk(lengths, starts.tolist(), ends.tolist(), labels.tolist())

    def _scores(self, summed: NDArray[np.float32]) -> NDArray[np.float32]:
        summed += self._lower.get_param("b").reshape(-1)
        pieces = [summed[:, piece :: self._n_pieces] for piece in range(self._n_pieces)]
        scores: NDArray[np.float32] = reduce(np.maximum, pieces) @ self._weights_CH.T
        scores += self._bias_C
        return scores

    def _starts(
        self, table: NDArray[np.float32], may_go_on: NDArray[np.bool_], is_space: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
        """Return where an entity starts if none is open there, its label, and whether it has further tokens."""
        scores = self._scores(table[1:, 0] + table[0, 1] + table[0, 2])[:, self._outside]
        scores[np.ix_(~may_go_on, self._begins)] = -np.inf
        scores[np.ix_(is_space, ~self._is_out)] = -np.inf
        best = scores.argmax(axis=1)
        (starts,) = np.nonzero(~self._is_out[best])
        return starts, self._label_of[best[starts]], self._begins[best[starts]]

    def _extend(
        self,
        table: NDArray[np.float32],
        may_go_on: NDArray[np.bool_],
        starts: NDArray[np.intp],
        labels: NDArray[np.intp],
    ) -> NDArray[np.intp]:
        """Return the token behind each entity that begins at ``starts``."""
        ends = starts + 1  # the token looked at, while an entity is open
        live = np.arange(len(starts))
        while len(live):
            here, inside, last = ends[live], self._inside[labels[live]], self._last[labels[live]]
            scores = self._scores(table[here + 1, 0] + table[starts[live] + 1, 1] + table[here, 2])
            rows = np.arange(len(live))
            gain = scores[rows, inside] - scores[rows, last]
            goes_on = may_go_on[here] & ((gain > 0) | ((gain == 0) & (inside < last)))
            ends[live] += 1
            live = live[goes_on]
        return ends

    def _walk(
        self, lengths: Sequence[int], starts: Sequence[int], ends: Sequence[int], labels: Sequence[int]
    ) -> list[list[tuple[int, int, str]]]:
        """Keep the starts that are reached with no entity open."""
        bounds = np.cumsum([0, *lengths])
        owners = np.searchsorted(bounds, starts, side="right") - 1
        found: list[list[tuple[int, int, str]]] = [[] for _ in lengths]
        covered = 0
        for start, end, label, owner in zip(starts, ends, labels, owners.tolist(), strict=True):
            if start >= covered:
                covered, offset = end, int(bounds[owner])
                found[owner].append((start - offset, end - offset, self._labels[label]))
        return found


def _is(name: str, kinds: str) -> bool:
    return len(name) > 2 and name[0] in kinds and name[1] == "-"


def _move_names(pipe: Any) -> list[str]:
    return [pipe.moves.get_class_name(number) for number in range(pipe.moves.n_moves)]


def _places(docs: Sequence[Doc], lengths: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether the token behind each one continues its sentence, and whether it is white space. *Shape:* (N,)."""
    columns = np.concatenate([doc.to_array(["SENT_START", "IS_SPACE"]).reshape(-1, 2) for doc in docs])
    may_go_on = np.append(columns[1:, 0] != 1, False)
    may_go_on[np.cumsum([length for length in lengths if length]) - 1] = False
    return may_go_on, columns[:, 1] != 0

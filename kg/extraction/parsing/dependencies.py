"""Parse dependencies step by step for a whole batch, and hold the interpreter's lock while doing so.

Layer: ``kg``; a loaded spaCy model. spaCy 3.8 lets go of the lock before its loop over transitions, and then takes and
drops it again for each move that it checks for validity: half of the parser's time, and worse where another thread
wants the lock. Here the loop is Python's and every step is spaCy's: the same features, weights, matrix product (BLIS)
and choice of the best valid move, so the scores are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.tokens import Doc
else:
    Doc = Any

__all__ = ["StepwiseParser"]


class StepwiseParser:
    """Does what ``DependencyParser.predict`` and ``set_annotations`` do.

    :param pipe: A component for which :meth:`fits` holds.
    """

    def __init__(self, pipe: Any) -> None:
        from thinc.api import NumpyOps

        self._pipe = pipe
        self._gemm = NumpyOps(use_blis=True).gemm

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Tell whether ``pipe`` is spaCy's greedy parser on a CPU, with an upper layer and no unseen classes."""
        from spacy.pipeline import DependencyParser
        from thinc.api import NumpyOps

        if type(pipe) is not DependencyParser or pipe.cfg["beam_width"] != 1:
            return False
        attributes = pipe.model.attrs
        return bool(
            attrs_are_plain(attributes)
            and isinstance(pipe.model.ops, NumpyOps)
            and pipe.model.get_ref("lower").get_dim("nP") > 1
        )

    def annotate(self, docs: Sequence[Doc]) -> None:
        """Set the heads, dependencies and sentence starts of ``docs``.

        :param docs: Texts with the vectors of ``tok2vec``.
        """
        pipe = self._pipe
        states = pipe.moves.init_batch(docs)
        live = [state for state in states if not state.is_final()]
        if live:
            steps = pipe.model.predict(docs)
            upper = pipe.model.get_ref("upper")
            weights, bias = upper.get_param("W"), upper.get_param("b")
            while live:
                hidden = steps.state2vec.predict(steps.get_token_ids(live))
                scores = self._gemm(hidden, weights, trans2=True)
                scores += bias
                live = pipe.transition_states(live, scores)
            steps.clear_memory()
        pipe.set_annotations(docs, states)


def attrs_are_plain(attributes: Any) -> bool:
    """Tell whether a transition model scores with an upper layer, and knows all its classes."""
    return bool(attributes.get("has_upper")) and not attributes.get("unseen_classes")

"""Read text and preferences that a language model is trained on, and turn them into token ids.

Layer: ``api``; imports ``moe_backbone``, and torch only when called.

- ``.txt`` and ``.md``: one document.
- ``.jsonl``: one object a line. ``{"text": …}`` is a document. ``{"prompt": …, "completion": …}`` trains the completion
  alone. ``{"prompt": …, "chosen": …, "rejected": …}`` is a preference. ``"modality"`` and ``"skill"`` name what all
  tokens of a line are. Other keys are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kg.errors import InputError

if TYPE_CHECKING:
    from moe_backbone.training.data import PackedTokens, PreferencePairs, TokenSequence

__all__ = ["read_preferences", "read_text"]

_LABELS = {"modality", "skill"}
_SHAPES = ({"text"}, {"prompt", "completion"}, {"prompt", "chosen", "rejected"})
_PLAIN = (".txt", ".md")


def read_text(files: Sequence[Path], tokenizer: Any, *, length: int) -> PackedTokens:
    """Read documents, and prompts with completions.

    :param files: Text and JSON-lines files, at least one.
    :param tokenizer: A tokenizer of transformers with an end-of-text token.
    :param length: Tokens of a training sequence.
    :returns: The packed sequences.
    :raises InputError: If a file or line cannot be read or used.
    """
    from moe_backbone.training.data import PackedTokens

    sequences = [_sequence(tokenizer, record, where) for file in files for where, record in _records(file)]
    return PackedTokens(sequences, length=length)


def read_preferences(files: Sequence[Path], tokenizer: Any, *, length: int) -> PreferencePairs:
    """Read preferences.

    :param files: JSON-lines files, at least one.
    :param tokenizer: A tokenizer of transformers with an end-of-text token.
    :param length: The most tokens of prompt and answer.
    :returns: The pairs.
    :raises InputError: If a file or line cannot be read or used.
    """
    from moe_backbone.training.data import PreferencePairs

    pairs = []
    for file in files:
        for where, record in _records(file):
            if set(record) - _LABELS != {"prompt", "chosen", "rejected"}:
                raise InputError(f"{where}: a preference needs prompt, chosen and rejected, got {sorted(record)}.")
            first, second = (
                _sequence(tokenizer, {"prompt": record["prompt"], "completion": record[key]}, where)
                for key in ("chosen", "rejected")
            )
            pairs.append((first, second))
    return PreferencePairs(pairs, pad_id=_end(tokenizer), length=length)


def _records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text: {error}") from error
    if file.suffix.lower() in _PLAIN:
        yield str(file), {"text": content}
        return
    if file.suffix.lower() != ".jsonl":
        raise InputError(f"{file}: training data is {', '.join(_PLAIN)} or .jsonl.")
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is no JSON: {error}") from error
        if not isinstance(record, dict) or set(record) - _LABELS not in _SHAPES:
            found = sorted(record) if isinstance(record, dict) else type(record).__name__
            raise InputError(
                f"{where}: need text, or prompt and completion, or prompt, chosen and rejected (and modality or skill "
                f"where wanted), got {found}."
            )
        yield where, record


def _sequence(tokenizer: Any, record: dict[str, Any], where: str) -> TokenSequence:
    from moe_backbone.training.data import IGNORED, TokenSequence

    if not all(isinstance(value, str) for value in record.values()):
        raise InputError(f"{where}: every value must be text.")
    if "chosen" in record:
        raise InputError(f"{where} is a preference. Give it with --preferences.")
    if "text" in record:
        ids = [*_encode(tokenizer, record["text"]), _end(tokenizer)]
        labels = None
    else:
        prompt = _encode(tokenizer, record["prompt"])
        completion = [*_encode(tokenizer, record["completion"]), _end(tokenizer)]
        ids = [*prompt, *completion]
        labels = [*([IGNORED] * len(prompt)), *completion]
    return TokenSequence(
        ids=ids,
        labels=labels,
        modality=_named(record, "modality", len(ids), where),
        skill=_named(record, "skill", len(ids), where),
    )


def _named(record: dict[str, Any], key: str, n_tokens: int, where: str) -> list[int] | None:
    from moe_backbone.routers.context import MODALITIES, SKILLS

    if key not in record:
        return None
    known = {"modality": MODALITIES, "skill": SKILLS}[key]
    if record[key] not in known:
        raise InputError(f"{where}: {key} must be one of {', '.join(known)}, got {record[key]!r}.")
    return [known.index(record[key])] * n_tokens


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _end(tokenizer: Any) -> int:
    end = tokenizer.eos_token_id
    if end is None:
        raise InputError("the model's tokenizer has no end-of-text token, so documents cannot be told apart.")
    return int(end)

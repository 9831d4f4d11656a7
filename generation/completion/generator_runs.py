"""Fit a generator to a trained model, and measure what it gives: what the command line calls.

Layer: ``generation``; imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.completion.epochs import validation_part
from generation.completion.evaluation_log import log_evaluation, log_settings
from generation.completion.evaluator import evaluate
from generation.completion.generator.contexts import ARMS
from generation.completion.generator.fitting import FittedStage, fit_stage
from generation.completion.generator.memory import ScoreMemory
from generation.completion.generator.opening import make_stage
from generation.completion.generator.scoring import AnswerScorer
from generation.completion.generator.settings import GeneratorSettings
from generation.completion.generator.stage import GeneratorStage, StageWeights
from generation.completion.generator.stored import FittedArm, StoredGenerator, load_generator, save_generator
from generation.completion.mixture import ExpertMixture
from generation.completion.predict import LinkPredictor
from generation.completion.triples import TripleSet
from kg.errors import CompletionError

__all__ = ["attach_generator", "evaluate_generator", "fit_generator"]


def fit_generator(
    predictor: LinkPredictor,
    model_dir: Path,
    scorer: AnswerScorer,
    *,
    model: str,
    settings: GeneratorSettings | None = None,
    arms: Sequence[str] = (),
    on_progress: Callable[[str, int, int], None] | None = None,
) -> StoredGenerator:
    """Fit how much a generator counts beside a trained model's experts, and keep it with the model.

    An interrupted fit goes on where it stopped: scores are kept beside the model until it is done.

    :param predictor: The model with its graph.
    :param model_dir: The folder of the model.
    :param scorer: The generator.
    :param model: The name by which the generator is opened again.
    :param settings: What it is shown, and what it scores.
    :param arms: Context arms to fit; the one that reaches most on validation is used. Empty fits ``settings.arm``.
    :param on_progress: Called with what is fitted, the questions asked and the most there will be.
    :returns: What was kept; its weights are 0 where the generator does not help on validation.
    :raises CompletionError: If an arm is unknown, or the graph has no validation part.
    """
    settings = settings or GeneratorSettings()
    chosen = list(dict.fromkeys(arms)) or [settings.arm]
    for arm in chosen:
        _check_arm(arm)
    run = _Run(predictor=predictor, model_dir=model_dir, scorer=scorer, on_progress=on_progress)
    fitted: dict[str, FittedArm] = {}
    for arm in chosen:
        found = run.fit(replace(settings, arm=arm))
        fitted[arm] = FittedArm(weights=found.weights, validation=found.validation, n=found.n, n_asked=found.n_asked)
    best = max(chosen, key=lambda arm: fitted[arm].validation.get("chosen", -1.0))
    files = predictor.saved.metadata.get("files")
    stored = StoredGenerator(
        model=model,
        fingerprint=scorer.fingerprint,
        settings=replace(settings, arm=best),
        arms=fitted,
        of_files=files if isinstance(files, dict) else {},
    )
    save_generator(model_dir, stored)
    return stored


def attach_generator(
    predictor: LinkPredictor, model_dir: Path, *, make_scorer: Callable[[str], AnswerScorer]
) -> StoredGenerator | None:
    """Let the generator of a model folder, if it has one with weight, score again what the predictor's mixture ranks.

    :param predictor: The model with its graph.
    :param model_dir: The folder of the model.
    :param make_scorer: Opens a generator by its name; not called where none is wanted.
    :returns: The generator that was attached; ``None`` if there is none, or its weights are 0.
    :raises CompletionError: If it is of another training, or the sequence model is another one.
    """
    stored = load_generator(model_dir, metadata=predictor.saved.metadata)
    if stored is None or stored.weights.is_silent:
        return None
    scorer = make_scorer(stored.model)
    stored.check_fingerprint(scorer.fingerprint)
    predictor.stage = make_stage(
        _mixture(predictor), predictor.graph, scorer, settings=stored.settings, weights=stored.weights
    )
    return stored


def evaluate_generator(
    predictor: LinkPredictor,
    model_dir: Path,
    split: str,
    *,
    make_scorer: Callable[[str], AnswerScorer],
    validated: LinkPredictor | None = None,
    limit: int | None = None,
    arms: Sequence[str] = (),
    unseen_only: bool = False,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, object]:
    """Rank a sample of a split with and without the generator, on the same triples; the look goes into the log.

    :param predictor: The model with its graph.
    :param model_dir: The folder of the model; it has a generator.
    :param split: ``test``, ``valid`` or ``train``.
    :param make_scorer: Opens a generator by its name.
    :param validated: The same model with experts that have not learnt validation, for arms to be fitted; ``None`` takes
        ``predictor``.
    :param limit: The most triples, drawn at random; ``None`` takes all. Each is two questions.
    :param arms: Context arms to rank with besides the one in use; the weights of one that was not fitted are fitted on
        validation first.
    :param unseen_only: Whether to take triples with an entity that train has never seen alone.
    :param seed: Seed of the sample.
    :param on_progress: Called with what is ranked or fitted, the questions done and questions in all.
    :returns: ``n`` triples, ``n_split`` of which they are drawn, ``model``, ``arm``, ``weights``, ``without`` (metrics
        as of :func:`~generation.completion.runs.evaluate_folder`), ``+ generator``, and ``arms`` by name.
    :raises CompletionError: If the model has no generator, or there is nothing to rank.
    """
    mixture, graph = _mixture(predictor), predictor.graph
    stored = load_generator(model_dir, metadata=predictor.saved.metadata)
    if stored is None:
        raise CompletionError(f"{model_dir} has no generator. Fit one with `mmkg kgc generator`.")
    for arm in arms:
        _check_arm(arm)
    triples = _drawn(graph, split, limit=limit, unseen_only=unseen_only, seed=seed)
    scorer = make_scorer(stored.model)
    stored.check_fingerprint(scorer.fingerprint)
    run = _Run(predictor=predictor, model_dir=model_dir, scorer=scorer, on_progress=on_progress)
    weights = {name: arm.weights for name, arm in stored.arms.items()}
    without = evaluate(mixture, graph, triples=triples).to_mapping()
    ranked: dict[str, dict[str, object]] = {}
    for arm in dict.fromkeys([stored.settings.arm, *arms]):
        settings = replace(stored.settings, arm=arm)
        if arm not in weights:
            weights[arm] = replace(run, predictor=validated or predictor).fit(settings).weights
        ranked[arm] = run.rank(settings, weights[arm], triples, name=f"{split}, {arm}") | {
            "weights": [list(row) for row in weights[arm].table]
        }
    settings_used = {**log_settings(predictor.saved), "generator": stored.to_mapping(), "n_sampled": len(triples)}
    used = ranked[stored.settings.arm]
    log_evaluation(model_dir, used, split=split, settings=settings_used, command="eval generator")
    return {
        "n": len(triples),
        "n_split": len(graph.split(split)),
        "unseen_only": unseen_only,
        "model": stored.model,
        "arm": stored.settings.arm,
        "without": without,
        "+ generator": used,
        "arms": {arm: ranked[arm] for arm in arms},
    }


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One generator over one model: fits and ranks, and remembers scores while it does."""

    predictor: LinkPredictor
    model_dir: Path
    scorer: AnswerScorer
    on_progress: Callable[[str, int, int], None] | None

    def fit(self, settings: GeneratorSettings) -> FittedStage:
        graph, saved = self.predictor.graph, self.predictor.saved
        if saved.learnt_validation:
            raise CompletionError(
                f"{graph.name}: these experts have learnt validation, so it would say too little for a generator. Open "
                "the model with validated=True."
            )
        seed = saved.metadata.get("seed")
        triples = validation_part(graph, seed if isinstance(seed, int) else 0, limit=saved.config.validation_limit)
        if not len(triples):
            raise CompletionError(
                f"{graph.name}: there are no validation triples, so nothing can say how far to trust a generator. Add "
                "valid.tsv, or train with valid_fraction above 0."
            )

        def told(done: int, total: int) -> None:
            if self.on_progress is not None:
                self.on_progress(f"fitting {settings.arm}", done, total)

        with self._stage(settings, StageWeights.equal(0.0)) as stage:
            return fit_stage(
                stage,
                triples=triples,
                n_questions=settings.questions,
                seed=settings.seed,
                on_progress=told,
            )

    def rank(
        self, settings: GeneratorSettings, weights: StageWeights, triples: NDArray[np.int64], *, name: str
    ) -> dict[str, object]:
        counter = count(1)

        def advance() -> None:
            if self.on_progress is not None:
                self.on_progress(name, next(counter), 2 * len(triples))

        with self._stage(settings, weights, on_question=advance) as stage:
            return evaluate(stage, self.predictor.graph, triples=triples).to_mapping()

    @contextmanager
    def _stage(
        self, settings: GeneratorSettings, weights: StageWeights, *, on_question: Callable[[], None] | None = None
    ) -> Iterator[GeneratorStage]:
        graph = self.predictor.graph
        about = {
            "model": self.scorer.fingerprint,
            "settings": {**settings.to_mapping(), "questions": None},
            "train": graph.train_fingerprint,
        }
        memory = ScoreMemory(self.model_dir / f"generator-scores-{settings.arm}.jsonl", about=about)
        try:
            yield make_stage(
                _mixture(self.predictor),
                graph,
                self.scorer,
                settings=settings,
                weights=weights,
                memory=memory,
                on_question=on_question,
            )
        except BaseException:
            memory.close()
            raise
        memory.forget()


def _mixture(predictor: LinkPredictor) -> ExpertMixture:
    if not isinstance(predictor.scorer, ExpertMixture):
        raise CompletionError(
            "The model was written by an older version, without a gate over experts. Train it again before a generator "
            "is added."
        )
    return predictor.scorer


def _drawn(graph: TripleSet, split: str, *, limit: int | None, unseen_only: bool, seed: int) -> NDArray[np.int64]:
    triples = graph.split(split)
    if unseen_only:
        triples = triples[~(graph.seen[triples[:, 0]] & graph.seen[triples[:, 2]])]
        if not len(triples):
            raise CompletionError(f"{graph.name}: no triple of {split} has an entity that train has never seen.")
    if limit is not None and limit < 1:
        raise CompletionError(f"limit must be at least 1, got {limit}.")
    if limit is None or limit >= len(triples):
        return triples
    return triples[np.sort(np.random.default_rng([seed, 0x51]).permutation(len(triples))[:limit])]


def _check_arm(arm: str) -> None:
    if arm not in ARMS:
        raise CompletionError(f"There is no context arm {arm!r}. Use one of {', '.join(ARMS)}.")

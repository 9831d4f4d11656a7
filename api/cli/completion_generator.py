"""``mmkg kgc generator``: a language model as an expert beside a trained model, and what it gives.

Layer: ``api.cli``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.completion_data import FolderArgument, OverlapOption, score_row
from api.cli.options import JsonOption, settings_of
from api.cli.output import ProgressBar, console, failures_explained, print_json, print_table, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from generation.completion.generator.scoring import AnswerScorer
    from generation.completion.generator.stored import StoredGenerator

__all__ = [
    "GENERATOR_HELP",
    "TextsOption",
    "arms_of",
    "evaluate_with_generator",
    "fit_to_model",
    "generator",
    "scorers_of",
    "show_fitted",
    "show_measured",
]

GENERATOR_HELP = (
    "A language model as a further expert: smollm2, smollm2-moe, hf:ORG/NAME@REVISION, the folder of a causal or an "
    "encoder-decoder model or one that `mmkg kgc tune` wrote, or openai (the server of the settings)."
)
_ARMS = ("none", "own", "neighbours", "both")
TextsOption = Annotated[
    str,
    typer.Option(
        "--generator-context",
        help="Whose picture texts the language model reads beside the links: none, own, neighbours or both; several "
        "parted by commas, or all, are fitted in turn and the best on validation is used.",
    ),
]


def generator(
    context: typer.Context,
    model_dir: Annotated[Path, typer.Argument(help="A model folder that `mmkg kgc train` wrote.")],
    folder: FolderArgument,
    model: Annotated[str, typer.Option("--model", help=GENERATOR_HELP)] = "smollm2",
    texts: TextsOption = "both",
    shortlist: Annotated[
        int, typer.Option("--shortlist", min=2, help="How many of the best answers it scores for a question.")
    ] = 50,
    length: Annotated[
        str, typer.Option("--length", help="How the length of answers is evened out: pmi, mean or sum.")
    ] = "pmi",
    beam: Annotated[
        int, typer.Option("--beam", min=0, help="Names that it writes itself and that join the shortlist; 0: none.")
    ] = 0,
    neighbours: Annotated[
        int | None,
        typer.Option("--neighbours", min=0, help="The most links it reads.", show_default="12, or as it was tuned"),
    ] = None,
    questions: Annotated[
        int, typer.Option("--questions", min=1, help="Validation questions to fit its weight on.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the questions drawn.")] = 0,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add a language model to a trained model: it scores the best answers again, by names, texts and known links.

    How much it counts is fitted on validation questions; where it does not help there it gets no weight and is never
    asked. Slow without a GPU, so it is off until this command, or `mmkg kgc train --generator`, adds it. Interrupted,
    it goes on where it stopped. `mmkg kgc eval --generator` measures it.
    """
    with failures_explained(as_json=as_json):
        from generation.completion.generator.settings import GeneratorSettings

        arms = arms_of(texts)
        read = _tuned_context(context, model) | ({} if neighbours is None else {"max_neighbours": neighbours})
        settings = GeneratorSettings(
            arm=arms[0], shortlist=shortlist, length=length, beam=beam, questions=questions, seed=seed, **read
        )
        stored = fit_to_model(
            context, model_dir, folder, model, settings=settings, arms=arms, allow_overlap=allow_overlap, quiet=as_json
        )
    if as_json:
        print_json(stored.to_mapping())
    else:
        show_fitted(stored)


def _tuned_context(context: typer.Context, model: str) -> dict[str, int]:
    from api.generators import tuned_context
    from api.models.cache import ModelCache

    return tuned_context(model, ModelCache(settings_of(context).cache))


def arms_of(texts: str) -> list[str]:
    """Read the option that names context arms.

    :param texts: Arms parted by commas, or ``all``.
    :returns: The arms.
    :raises InputError: If there is none, or one is unknown.
    """
    from kg.errors import InputError

    arms = list(_ARMS) if texts.strip() == "all" else [one.strip() for one in texts.split(",") if one.strip()]
    unknown = [arm for arm in arms if arm not in _ARMS]
    if unknown or not arms:
        named = ", ".join(map(repr, unknown)) or repr(texts)
        raise InputError(f"There is no context {named}. Use {', '.join(_ARMS)} or all.")
    return arms


def fit_to_model(
    context: typer.Context,
    model_dir: Path,
    folder: Path,
    model: str,
    *,
    settings: Any = None,
    arms: list[str],
    allow_overlap: bool,
    quiet: bool,
) -> StoredGenerator:
    """Fit a generator to a model folder and keep it there.

    :param context: The command's context.
    :param model_dir: The model folder.
    :param folder: Its graph.
    :param model: Name of the generator.
    :param settings: What it is shown, and what it scores; ``None`` takes the defaults.
    :param arms: Context arms to fit.
    :param allow_overlap: Whether splits may share triples.
    :param quiet: Show no progress.
    :returns: What was kept.
    """
    from generation.completion.generator_runs import fit_generator
    from generation.completion.runs import open_folder

    scorer = scorers_of(context)(model)
    predictor = open_folder(model_dir, folder, allow_overlap=allow_overlap, validated=True)
    with _shown(quiet=quiet) as tell:
        return fit_generator(predictor, model_dir, scorer, model=model, settings=settings, arms=arms, on_progress=tell)


def evaluate_with_generator(
    context: typer.Context,
    model_dir: Path,
    folder: Path,
    split: str,
    *,
    limit: int | None,
    arms: list[str],
    unseen_only: bool,
    allow_overlap: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Measure a model's generator on a sample of a split.

    :param context: The command's context.
    :param model_dir: The model folder.
    :param folder: Its graph.
    :param split: Which triples.
    :param limit: The most of them.
    :param arms: Context arms to measure as well.
    :param unseen_only: Whether to take triples with an unseen entity alone.
    :param allow_overlap: Whether splits may share triples.
    :param quiet: Show no progress.
    :returns: What :func:`generation.completion.generator_runs.evaluate_generator` returns.
    """
    from generation.completion.evaluation_run import open_for
    from generation.completion.generator_runs import evaluate_generator
    from generation.completion.runs import open_folder

    predictor = open_for(split, model_dir, folder, allow_overlap=allow_overlap)
    validated = None
    if predictor.saved.learnt_validation:
        validated = open_folder(model_dir, folder, allow_overlap=allow_overlap, validated=True)
    with _shown(quiet=quiet) as tell:
        return evaluate_generator(
            predictor,
            model_dir,
            split,
            make_scorer=scorers_of(context),
            validated=validated,
            limit=limit,
            arms=arms,
            unseen_only=unseen_only,
            on_progress=tell,
        )


def scorers_of(context: typer.Context) -> Callable[[str], AnswerScorer]:
    """Return what opens generators as the settings have it.

    :param context: The command's context.
    :returns: A function of the generator's name.
    """
    from api.generators import answer_scorers
    from api.models.cache import ModelCache

    settings = settings_of(context)
    return answer_scorers(ModelCache(settings.cache), settings.openai)


def show_fitted(stored: StoredGenerator) -> None:
    """Print what was fitted, for people.

    :param stored: The generator.
    """
    from generation.completion.generator.fitting import ON_SHORTLISTS

    rows = []
    for name, arm in stored.arms.items():
        figures = arm.validation
        chosen = figures.get("chosen")
        rows.append(
            (
                f"{name}{' (used)' if name == stored.settings.arm else ''}",
                arm.weights.kind,
                ", ".join(f"{weight:.2f}" for row in arm.weights.table for weight in row),
                f"{figures.get('without generator', 0.0):.4f}",
                "–" if chosen is None else f"{chosen:.4f}",
                f"{figures['gain']:+.4f} ± {figures['standard error of the gain']:.4f}" if "gain" in figures else "–",
                " · ".join(f"{figures[one]:.3f}" for one in ON_SHORTLISTS if one in figures) or "–",
                f"{arm.n_asked} of {arm.n}",
            )
        )
    columns = ("texts", "weights tell apart", "weights", "MRR without", "MRR with", "gain", "shortlists", "asked")
    print_table(f"{stored.model} on validation", columns, rows)
    out = console()
    out.print(
        "weights: seen anchor with few answers, with many; unseen anchor with few, with many. MRR on the questions "
        "drawn, weighed as all of validation; gain: cross-validated, with its standard error; shortlists: MRR among "
        "the candidates alone, by the blend, by the language model, and by chance.",
        markup=False,
        soft_wrap=True,
    )
    if stored.weights.is_silent:
        out.print("It does not help on validation, or too few questions could be asked: it is not used.", markup=False)


def show_measured(measured: dict[str, Any]) -> None:
    """Print what a generator gives on a sample, for people.

    :param measured: What :func:`evaluate_with_generator` returned.
    """
    rows = [score_row("without generator", measured["without"]), score_row("+ generator", measured["+ generator"])]
    for side in ("without", "+ generator"):
        if measured[side]["unseen"]["n"]:
            rows.append(score_row(f"{side}, unseen", measured[side]["unseen"]))
    rows += [score_row(f"texts: {arm}", scores) for arm, scores in measured["arms"].items()]
    columns = ("", "MRR", "Hits@1", "Hits@3", "Hits@10")
    drawn = f"{measured['n']} of {measured['n_split']} triples{', unseen entities' * measured['unseen_only']}"
    print_table(f"{measured['model']}, texts {measured['arm']}, {drawn}", columns, rows, right=columns[1:])


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    with progress("generator", quiet=quiet) as bar:
        yield _teller(bar)


def _teller(bar: ProgressBar) -> Callable[[str, int, int], None]:
    """Return what moves the bar; each thing that is ranked or fitted begins it anew."""
    now, n_done, n_all = "", 0, 0

    def tell(what: str, done: int, total: int) -> None:
        nonlocal now, n_done, n_all
        if what != now:
            now, n_done, n_all = what, 0, n_all + total
            bar.set_total(n_all)
        bar.advance(what, steps=done - n_done)
        n_done = done

    return tell

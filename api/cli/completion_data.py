"""``mmkg kgc check|split|import|report``: look at a graph before training, and at a model after it.

Layer: ``api.cli``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.options import JsonOption
from api.cli.output import console, failures_explained, print_json, print_table, progress

__all__ = [
    "FolderArgument",
    "OverlapOption",
    "PermutationSeedOption",
    "PermuteOption",
    "check",
    "import_graph",
    "permutation_line",
    "report",
    "score_row",
    "show_ladder",
    "split",
]

FolderArgument = Annotated[
    Path,
    typer.Argument(help="Holds train.tsv, and where there are any valid.tsv, test.tsv, entities.tsv, relations.tsv."),
]
OverlapOption = Annotated[bool, typer.Option("--allow-overlap", help="Go on where splits share triples.")]
PermuteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--permute",
        help="Rank also without these vectors, and with them dealt out anew among the entities that have one: text, "
        "name, image, number, or several as in name+text. May be given several times.",
        show_default=False,
    ),
]
PermutationSeedOption = Annotated[int, typer.Option("--seed", help="Seed of --permute.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
NewFolderOption = Annotated[Path, typer.Option("--out", help="The new folder; it must not exist yet.")]

_SCORES = ("mrr", "hits@1", "hits@3", "hits@10")
_SCORE_COLUMNS = ("MRR", "Hits@1", "Hits@3", "Hits@10")
_ROWS_SHOWN = 10


def check(
    folder: FolderArgument,
    seed: SeedOption = 0,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how far the test part can be answered by looking it up: redundancy, texts that name the answer, clashes.

    Ends with status 1 where splits share triples, unless that is allowed.
    """
    with failures_explained(as_json=as_json), progress("checking", total=2, quiet=as_json) as bar:
        from generation.completion.leakage import find_leakage
        from generation.completion.tsv_folder import read_folder, read_types

        graph = read_folder(folder, allow_overlap=True, valid_fraction=0.0)
        types = read_types(folder, graph.entity_ids)
        bar.advance("read")
        found = find_leakage(graph, types=types, seed=seed)
        bar.advance("looked for leaks")
    if as_json:
        print_json(found.to_mapping())
    else:
        _show_leakage(found.to_mapping())
    if found.overlaps and not allow_overlap:
        raise typer.Exit(1)


def split(
    folder: FolderArgument,
    out: NewFolderOption,
    unseen_entities: Annotated[
        float | None,
        typer.Option(
            "--unseen-entities",
            help="Share of the entities to take out of train, so that validation and test ask for entities never seen.",
            show_default=False,
        ),
    ] = None,
    valid_fraction: Annotated[
        float, typer.Option("--valid", help="Share of the triples for validation, without --unseen-entities.")
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option("--test", help="Share of the triples for test, without --unseen-entities.")
    ] = 0.1,
    seed: SeedOption = 0,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Split a graph anew into a new folder; the triples of its old splits are pooled first."""
    with failures_explained(as_json=as_json):
        from generation.completion.splits import inductive_split, transductive_split
        from generation.completion.tsv_folder import read_folder
        from generation.completion.tsv_write import write_folder

        graph = read_folder(folder, allow_overlap=allow_overlap, valid_fraction=0.0)
        if unseen_entities is None:
            made = transductive_split(graph, valid_fraction=valid_fraction, test_fraction=test_fraction, seed=seed)
        else:
            made = inductive_split(graph, unseen_fraction=unseen_entities, seed=seed)
        write_folder(made, out, beside=folder)
    _show_folder(made, out, as_json=as_json)


def import_graph(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder that PyKEEN's Dataset.to_directory_binary wrote, or the name of one of its data sets."
        ),
    ],
    out: NewFolderOption,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a data set of PyKEEN as a folder of triples. A saved one is read without PyKEEN and without unpickling."""
    with failures_explained(as_json=as_json):
        from generation.completion.pykeen_graphs import read_pykeen
        from generation.completion.tsv_write import write_folder

        graph = read_pykeen(source, allow_overlap=allow_overlap)
        write_folder(graph, out)
    _show_folder(graph, out, as_json=as_json)


def report(
    model: Annotated[Path, typer.Argument(help="A model folder that `mmkg kgc train` wrote.")],
    folder: FolderArgument,
    split: Annotated[str, typer.Option("--split", help="Which triples to rank: test, valid or train.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A folder for the page, its data, and the figures as PNG and SVG."),
    ] = None,
    permute: PermuteOption = None,
    seed: PermutationSeedOption = 0,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Break a model's scores down by relation, degree, modality and kind of relation, beside baselines.

    Every evaluation is kept in the log of the model folder; the report says how often test was looked at.
    """
    with failures_explained(as_json=as_json), progress("ranking", quiet=as_json) as bar:
        from generation.completion.report_run import report_folder

        result = report_folder(
            model,
            folder,
            split,
            out=out,
            allow_overlap=allow_overlap,
            permute=permute or (),
            permutation_seed=seed,
            on_progress=bar.move_to,
        )
    if as_json:
        print_json(result)
        return
    _show_report(result)


def _show_folder(graph: Any, out: Path, *, as_json: bool) -> None:
    sizes = {name: len(getattr(graph, name)) for name in ("train", "valid", "test", "filter_only")}
    if as_json:
        print_json({"folder": str(out), **sizes, "counts": dict(graph.counts), "notes": list(graph.notes)})
        return
    print_table(str(out), ("what", "n"), list({**sizes, **graph.counts}.items()), right=("n",))
    for note in graph.notes:
        console().print(f"note: {note}", markup=False, soft_wrap=True)


def _show_leakage(found: dict[str, Any]) -> None:
    for title, part in (("", "sizes"), ("Met while reading", "counts"), ("Shared by splits", "overlaps")):
        if found[part]:
            print_table(title or found["graph"], ("what", "n"), list(found[part].items()), right=("n",))
    redundancy = found["redundancy"]
    rows = [(key.replace("_", " "), redundancy[key], _percent(redundancy[f"{key}_share"])) for key in _REDUNDANCY]
    asked = "Test" if found["sizes"]["test"] else "Validation"
    title = f"{asked} triples whose pair train links already, of {redundancy['n']}"
    of_train = f"(train triples whose pair another one links, of {redundancy['n_train']})"
    rows.append((of_train, redundancy["train_either"], _percent(redundancy["train_either_share"])))
    print_table(title, ("", "n", "%"), rows, right=("n", "%"))
    if redundancy["is_cleared"]:
        console().print(
            "note: no such pair is linked, though many of train's own are: the split was cleared of them, and a model "
            "that looks at pairs can learn that from validation.",
            markup=False,
            soft_wrap=True,
        )
    if found["duplicates"]:
        pairs = [
            (pair["left"], pair["right"], "turned" if pair["turned"] else "same", pair["n_shared"])
            for pair in found["duplicates"][:_ROWS_SHOWN]
        ]
        title = f"Relations that link mostly the same pairs, {len(found['duplicates'])}"
        print_table(title, ("relation", "relation", "way", "pairs"), pairs, right=("pairs",))
    named = [*found["texts"], *found["texts_by_relation"][:_ROWS_SHOWN]]
    if named:
        _show_named("Texts that name the answer", named)
    if found["typed"]:
        _show_named("Types that equal the answer", [found["typed"], *found["typed_by_relation"][:_ROWS_SHOWN]])
    kinds = [(kind, one["relations"], one["triples"]) for kind, one in found["cardinality"].items()]
    print_table(
        "Kinds of relation", ("kind", "relations", "triples asked"), kinds, right=("relations", "triples asked")
    )
    rest = {**found["unseen"], **{key: n for key, n in found["clashes"].items() if n}}
    print_table("Unseen and alike", ("what", "n"), [(k.replace("_", " "), n) for k, n in rest.items()], right=("n",))


_REDUNDANCY = ("same_direction", "other_direction", "either", "reflexive")


def _show_named(title: str, rows: Sequence[Any]) -> None:
    columns = ("relation", "asked", "n", "named", "%", "chance %")
    cells = [
        (
            one["relation"] or "all",
            one["asked"],
            one["n"],
            one["named"],
            _percent(one["share"]),
            _percent(one["chance_share"]),
        )
        for one in rows
    ]
    print_table(title, columns, cells, right=columns[2:])


def _show_report(result: dict[str, Any]) -> None:
    rows = [score_row("both", result)]
    rows += [score_row(part, result[part]) for part in ("head", "tail", "unseen") if result[part]["n"]]
    rows += [score_row(name, scores) for name, scores in result["baselines"].items()]
    title = f"{result['graph']}, {result['split']}: {result['n']} triples"
    print_table(title, ("", *_SCORE_COLUMNS), rows, right=_SCORE_COLUMNS)
    groups = [("By train degree of the answer", result["by_answer_degree"]), ("By kind", result["by_kind"])]
    groups += [(f"By who has {name}", parts) for name, parts in result["by_modality"].items()]
    groups += [("The relations asked most", result["relations"][:_ROWS_SHOWN])]
    for title, parts in groups:
        others = tuple(result["baselines"])
        columns = ("", *_SCORE_COLUMNS, *others, "questions")
        cells = [
            (*score_row(one["name"], one), *(_percent(one["baselines"][name]) for name in others), one["n"])
            for one in parts
        ]
        print_table(title, columns, cells, right=columns[1:])
    for name in ("best", "worst"):
        console().print(f"{name} relations: {', '.join(result[f'{name}_relations']) or '–'}", markup=False)
    for note in result["notes"]:
        console().print(f"note: {note}", markup=False, soft_wrap=True)
    for file in result["files"]:
        console().print(f"written: {file}", markup=False, soft_wrap=True)
    console().print(str(result["protocol"]), markup=False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def permutation_line(kind: str, found: Any) -> str:
    """Say in words what became of the gain of a kind of vectors that was dealt out anew."""
    gain = f"{kind}: adds {100 * found['gain']:.2f} MRR over leaving it out"
    if found["lost_share"] is None:
        return f"{gain}, so there is no gain that dealing it out anew could lose."
    lost = "all" if found["lost_share"] >= 1.0 else f"{100 * found['lost_share']:.0f} %"
    return f"{gain}; dealt out among the wrong entities {100 * found['kept']:+.2f}: {lost} of the gain is lost."


def score_row(name: str, scores: Any) -> tuple[str, ...]:
    """Return a table's cells: the name, and MRR and Hits times 100."""
    cells = [scores.get(key) for key in _SCORES]
    return (name, *("–" if cell is None else f"{100 * float(cell):.1f}" for cell in cells))


def show_ladder(rungs: Mapping[str, Any]) -> None:
    """Print what each part adds to those before it, in points of MRR times 100."""
    rows = []
    for name, one in rungs.items():
        gain = "" if one["gain"] is None else f"{100 * one['gain']:+.2f}"
        unseen = _percent(one["unseen"]["mrr"]) if one["unseen"].get("n") else "–"
        rows.append((name, f"{100 * one['mrr']:.2f}", gain, _percent(one["hits@1"]), unseen))
    columns = ("", "MRR", "gain", "Hits@1", "MRR unseen")
    print_table("each part added to those before it, gates fitted on validation", columns, rows, right=columns[1:])

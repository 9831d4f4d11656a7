"""Rankings of chunks become rankings of units, and real corpora of every layout are scored."""

import io
import json
from dataclasses import replace

import pytest
from PIL import Image

from api.evaluation.corpus import evaluation_service, ingest_corpus
from api.evaluation.dataset import EvaluationFolder, read_folder
from api.evaluation.recipe import Recipe
from api.evaluation.retrieval import RetrievalReport, evaluate_retrieval, plot_report, pool_units
from generation.testing import make_evidence
from kg.errors import ConfigError
from kg.types import IngestStatus
from retrieval.metrics import METRIC_NAMES
from tests.evaluation.conftest import PASSAGE_QUESTIONS, write_lines


def scored(settings, path, recipe=None):
    recipe = recipe or Recipe()
    folder = read_folder(path)
    service, workspace = evaluation_service(settings, path, retrieval=recipe.retrieval)
    ingest_corpus(service, workspace, folder)
    report = evaluate_retrieval(folder, service.retriever(workspace), recipe)
    service.close()
    return report


def test_a_unit_stands_where_its_best_chunk_stands(tmp_path):
    folder = EvaluationFolder(folder=tmp_path, layout="pages", questions=())
    over_both = make_evidence("c", rank=3, name="a.pdf", page=2)
    over_both = replace(over_both, chunk=replace(over_both.chunk, page_last=3))
    ranked = [
        make_evidence("a", rank=1, name="b.pdf", page=7),
        make_evidence("b", rank=2, name="a.pdf", page=2),
        over_both,
        make_evidence("d", rank=4, name="b.pdf", page=7, start=100),
        make_evidence("e", rank=5, name="c.pdf"),
    ]

    assert pool_units(folder, ranked) == ["b.pdf#7", "a.pdf#2", "a.pdf#3", "c.pdf#1"]
    assert pool_units(folder, ranked, limit=2) == ["b.pdf#7", "a.pdf#2"]
    assert pool_units(folder, []) == []


@pytest.mark.models
def test_passages_are_scored_by_every_pipeline(settings, passages_folder):
    report = scored(settings, passages_folder)

    body = report.as_json()
    assert (body["n"], body["n_unanswerable"], body["n_gold"]) == (3, 1, 3)
    assert list(body["pipelines"]) == ["bm25", "dense", "mmkg"]
    for scores in body["pipelines"].values():
        assert list(scores) == [*METRIC_NAMES, "p50_ms", "p95_ms", "p99_ms"]
        assert scores["recall@1"] == 1.0  # each question shares its words with one passage alone
        assert scores["mrr"] == 1.0
        assert 0 < scores["p50_ms"] <= scores["p95_ms"] <= scores["p99_ms"]
    assert body["peak_memory_mib"] > 50
    assert json.loads(json.dumps(body)) == body


@pytest.mark.models
def test_pages_of_a_document_are_scored(settings, documents_folder):
    report = scored(settings, documents_folder)

    assert (report.n, report.n_unanswerable) == (2, 1)
    assert report.pipelines["mmkg"]["recall@2"] == 1.0
    assert report.pipelines["bm25"]["recall@1"] == 1.0


@pytest.mark.models
def test_pictures_are_found_by_the_words_on_them(settings, images_folder):
    report = scored(settings, images_folder)

    assert report.pipelines["mmkg"]["recall@1"] == 1.0


@pytest.mark.models
def test_a_second_run_finds_the_corpus_there_and_the_users_home_untouched(settings, passages_folder):
    folder = read_folder(passages_folder)
    totals, seen = [], []
    for _ in range(2):
        service, workspace = evaluation_service(settings, passages_folder, retrieval={})
        report = ingest_corpus(
            service, workspace, folder, on_total=totals.append, on_outcome=lambda o: seen.append(o.name)
        )
        service.close()

    assert {outcome.status for outcome in report.outcomes} == {IngestStatus.UNCHANGED}
    assert totals == [4, 4]
    assert seen == ["kestrel", "orvik", "bread", "moths"] * 2
    assert not settings.home.exists()
    assert (settings.cache / "evaluation" / workspace).is_dir()


@pytest.mark.models
def test_each_folder_has_a_workspace_of_its_own(settings, passages_folder, images_folder):
    names = {evaluation_service(settings, path, retrieval={})[1] for path in (passages_folder, images_folder)}

    assert len(names) == 2


@pytest.mark.models
def test_an_unknown_retrieval_setting_of_a_recipe_is_refused(settings, passages_folder):
    with pytest.raises(ConfigError, match="no setting 'fusoin'"):
        evaluation_service(settings, passages_folder, retrieval={"fusoin": 1})


@pytest.mark.models
def test_a_corpus_of_which_nothing_can_be_read_is_refused(settings, images_folder):
    for file in (images_folder / "images").iterdir():
        file.write_bytes(b"")

    service, workspace = evaluation_service(settings, images_folder, retrieval={})
    with pytest.raises(ConfigError, match=r"Nothing of .*signs could be ingested"):
        ingest_corpus(service, workspace, read_folder(images_folder))
    service.close()


@pytest.mark.models
def test_questions_without_any_gold_cannot_rank(settings, passages_folder):
    write_lines(passages_folder / "questions.jsonl", [PASSAGE_QUESTIONS[3]])

    with pytest.raises(ConfigError, match="no ranking can be scored"):
        scored(settings, passages_folder)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_plot_is_a_real_picture(tmp_path, suffix):
    scores = dict.fromkeys(METRIC_NAMES, 0.5)
    report = RetrievalReport(
        n=3, n_unanswerable=0, n_units_gold=3, pipelines={"bm25": scores, "mmkg": scores}, peak_memory_mib=100.0
    )

    plot_report(report, tmp_path / f"plot.{suffix}", title="ships")

    with Image.open(io.BytesIO((tmp_path / f"plot.{suffix}").read_bytes())) as picture:
        assert picture.size == (1350, 630)  # 9.0 by 4.2 inches at 150 dots
        assert len(picture.convert("L").getcolors(256)) > 10

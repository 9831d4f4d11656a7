"""What held-out links of a workspace's own graph say of its predictions."""

import numpy as np
import pytest

from generation.completion.config import CompletionConfig
from generation.completion.workspace_evaluation import evaluate_store
from kg.errors import CompletionError
from kg.stores.record import open_record
from kg.testing import make_delta

BOATS = "Tern Skua Teal Eider Gannet Fulmar Curlew Dunlin Plover Avocet Godwit Pintail Wigeon Lapwing Redshank Puffin"
OWNERS = {"Ada": "Ulvik", "Bob": "Tjorn", "Cyd": "Halden"}
CONFIG = CompletionConfig(
    rank=16, max_epochs=6, regularisation=0.01, threads=1, device="cpu", folds=2, experts=("structure", "rules")
)


@pytest.fixture
def store(tmp_path):
    record = open_record(tmp_path / "record.sqlite")
    lines = [f"{owner} lives in {port}." for owner, port in OWNERS.items()]
    for number, boat in enumerate(BOATS.split()):
        owner, port = list(OWNERS.items())[number % len(OWNERS)]
        lines += [f"{boat} belongs to {owner}.", f"{boat} lies at {port}."]
    record.apply(make_delta("\n\n".join(lines)))
    yield record
    record.close()


def test_held_out_links_are_ranked_by_what_was_trained_without_them(store):
    version, folds = store.version(), []

    found = evaluate_store(
        store, config=CONFIG, name="boats", n_folds=4, n_rounds=3, seed=1, on_fold=lambda: folds.append(1)
    )

    assert store.version() == version
    assert len(folds) == found.n_rounds == len(found.gates) == 3
    assert set(found.arms) == {"all", "structure", "rules", "relation frequency"}
    assert found.n_stated == 2 * len(BOATS.split()) + len(OWNERS)
    assert {one.n for one in found.arms.values()} == {found.arms["all"].n}
    assert 0 < found.arms["all"].n <= 2 * found.n_stated
    assert found.arms["all"].mrr > found.arms["relation frequency"].mrr
    body = found.to_mapping()
    assert body["arms"]["all"]["mrr"] == found.arms["all"].mrr
    assert (body["folds"], body["rounds"], body["workspace"]) == (4, 3, "boats")
    if found.expected is not None:
        assert 0.0 <= found.right <= 1.0
        assert 0.0 <= found.expected <= 1.0


def test_the_same_seed_gives_the_same_figures(store):
    def measured(seed):
        found = evaluate_store(store, config=CONFIG, n_folds=3, n_rounds=1, seed=seed)
        return np.array([one.mrr for one in found.arms.values()])

    np.testing.assert_array_equal(measured(2), measured(2))


def test_a_workspace_that_can_spare_no_link_says_so(tmp_path):
    record = open_record(tmp_path / "record.sqlite")
    record.apply(make_delta("Ada lives in London.\n\nBob likes Paris.\n\nCyd saw Rome."))

    with pytest.raises(CompletionError, match="can be held out"):
        evaluate_store(record, config=CONFIG)
    record.close()

"""Homonyms are kept apart, and in doubt there is one thing."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.ports import LocalEntity
from kg.resolution.evidence import are_apart, can_be_apart, evidence_of, signs_against
from kg.resolution.senses import cluster_by_evidence, cluster_senses


def local(
    number: int, features: str = "", *, label: str = "PERSON", name: str = "Ada North", n: int = 1
) -> LocalEntity:
    return LocalEntity(
        local_id=f"l_{number:03}", document_id=f"d_{number}", name_id="e_1", uses={(name, label): n},
        features=tuple(sorted(features.split())),
    )  # fmt: skip


def groups(*locals_: LocalEntity) -> list[set[int]]:
    found: dict[int, set[int]] = {}
    for i, cluster in enumerate(cluster_senses(locals_)):
        found.setdefault(cluster, set()).add(i)
    return [found[cluster] for cluster in sorted(found)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("born:1921", "born:1980"),
        ("made:1994", "made:2016"),
        ("is:painter with:oslo word:canvas", "is:footballer with:cardiff word:goal"),
        ("is:river", "is:painter"),
        ("part:film", "part:planet"),
    ],
)
def test_contradictions_part_one_name(left, right):
    assert groups(local(1, left), local(2, right)) == [{0}, {1}]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("", ""),
        ("with:oslo with:bergen with:tromso with:bodo", "with:cardiff with:swansea with:newport with:barry"),
        ("is:painter", ""),
        ("is:painter", "is:poet"),
        ("is:painter", "is:nurse"),
        ("born:1921", "born:1922"),
        ("is:actor with:oslo", "is:governor with:vienna"),
        ("is:painter is:footballer", "is:footballer"),
        ("is:painter with:oslo", "is:footballer with:oslo"),
    ],
)
def test_little_evidence_parts_nothing(left, right):
    assert groups(local(1, left), local(2, right)) == [{0, 1}]


def test_labels_alone_never_part_a_name():
    assert groups(local(1, label="PERSON", n=9), local(2, label="GPE", n=9)) == [{0, 1}]


def test_many_labels_without_any_common_context_do():
    left = local(1, "with:a with:b word:c word:d", label="PERSON", n=5)
    right = local(2, "with:e with:f word:g word:h", label="GPE", n=5)

    assert groups(left, right) == [{0}, {1}]


def test_towns_of_two_known_states_are_two_and_a_state_and_its_country_are_one():
    ohio, vermont, country = (
        local(i, f"where:{where}", label="GPE", name="Millbrook")
        for i, where in enumerate(("ohio", "vermont", "united states"))
    )

    assert groups(ohio, vermont) == [{0}, {1}]
    assert groups(ohio, country) == [{0, 1}]


def test_what_tells_nothing_goes_where_it_shares_most():
    painter, footballer = local(1, "born:1921 with:oslo"), local(2, "born:1980 with:cardiff")
    plain = local(3, "with:cardiff")

    assert groups(painter, footballer, plain) == [{1, 2}, {0}]


def test_one_document_that_says_both_bridges_two_trades():
    painter = local(1, "is:painter with:oslo word:canvas")
    footballer = local(2, "is:footballer with:cardiff word:goal")
    both = local(3, "is:painter is:footballer")

    assert groups(painter, footballer, both) == [{0, 1, 2}]


def test_common_noun_is_apart_from_a_company_of_that_name():
    company = local(1, "is:company with:dana word:keyboard", label="ORG", name="Quince")
    fruit = local(2, "word:sugar word:lemon topic:jam", label="CONCEPT", name="quince")

    assert groups(company, fruit) == [{0}, {1}]
    assert groups(fruit, local(3, "word:river", label="CONCEPT", name="quinces")) == [{0, 1}]


def test_values_are_never_parted():
    assert groups(local(1, "is:river", label="DATE"), local(2, "is:painter", label="DATE")) == [{0, 1}]


def test_signs_say_why():
    left = evidence_of({("Ada North", "PERSON"): 1}, {"born:1921": 1})
    right = evidence_of({("Ada North", "PERSON"): 1}, {"born:1980": 1})

    assert [(sign.weight, sign.reason) for sign in signs_against(left, right)] == [(1.0, "born in 1921 and in 1980")]


PIECES = ["born:1921", "born:1980", "is:painter", "is:footballer", "is:river", "with:a", "with:b", "word:c", "of:welsh",
          "where:ohio", "where:vermont", "made:1994", "made:2016", "part:film", "topic:d", "year:1958"]  # fmt: skip
LOCALS = st.lists(
    st.tuples(st.sets(st.sampled_from(PIECES), max_size=5), st.sampled_from(["PERSON", "GPE", "ORG", "CONCEPT"])),
    min_size=1,
    max_size=12,
)


@given(LOCALS, st.randoms(use_true_random=False))
def test_order_of_local_entities_does_not_matter(pieces: list[tuple[set[str], str]], rng: random.Random):
    locals_ = [local(i, " ".join(features), label=label) for i, (features, label) in enumerate(pieces)]
    shuffled = rng.sample(locals_, len(locals_))

    expected = {item.local_id: cluster for item, cluster in zip(locals_, cluster_senses(locals_), strict=True)}
    assert {i.local_id: c for i, c in zip(shuffled, cluster_senses(shuffled), strict=True)} == expected


@given(LOCALS)
def test_clusters_are_numbered_from_the_largest_without_gaps(pieces: list[tuple[set[str], str]]):
    locals_ = [local(i, " ".join(features), label=label) for i, (features, label) in enumerate(pieces)]
    clusters = cluster_senses(locals_)
    sizes = [clusters.count(number) for number in range(max(clusters) + 1)]

    assert all(sizes)
    assert sizes == sorted(sizes, reverse=True)


SAID = [
    "is:painter",
    "is:footballer",
    "is:river",
    "is:company",
    "is:town",
    "part:film",
    "part:planet",
    "part:band",
    "born:1921",
    "born:1922",
    "born:1980",
    "made:1994",
    "made:1995",
    "made:2016",
    "where:ohio",
    "where:kent",
    "of:welsh",
    "of:danish",
    "with:oslo",
    "with:bergen",
    "with:cardiff",
    "with:lima",
    "word:canvas",
    "word:goal",
    "word:bank",
    "word:water",
    "year:1984",
    "topic:harbour",
]
LABELS = st.sampled_from(("PERSON", "ORG", "GPE", "MISC", "WORK_OF_ART", "CONCEPT", "DATE"))
ANY_LOCALS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(SAID), max_size=6),
        LABELS,
        st.sampled_from(("Ada North", "north", "North")),
        st.integers(min_value=1, max_value=6),
    ),
    min_size=1,
    max_size=8,
).map(
    lambda rows: [
        local(number, " ".join(said), label=label, name=name, n=n) for number, (said, label, name, n) in enumerate(rows)
    ]
)


@given(found=ANY_LOCALS)
def test_names_that_are_seen_to_be_one_thing_are_clustered_as_the_reference_does(found: list[LocalEntity]):
    assert cluster_senses(found) == cluster_by_evidence(found)


@given(found=ANY_LOCALS, sides=st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_cannot_be_apart_is_not_apart_however_it_is_put_together(found: list[LocalEntity], sides: list[bool]):
    evidence = []
    for side in (True, False):
        members = [one for one, chosen in zip(found, sides, strict=False) if chosen is side]
        uses, features = Counter[tuple[str, str]](), Counter[str]()
        for one in members:
            uses.update(one.uses)
            features.update(one.features)
        evidence.append(evidence_of(uses, features, n_documents=len(members)))
    if are_apart(*evidence):
        assert can_be_apart([one.uses for one in found], [one.features for one in found])


def test_labels_that_disagree_have_to_be_looked_at_and_labels_that_agree_have_not():
    def looked_at(*found: LocalEntity) -> bool:
        return can_be_apart([one.uses for one in found], [one.features for one in found])

    person, place = local(1, "with:oslo", n=5), local(2, "with:lima", label="GPE", n=5)
    assert looked_at(person, place)
    assert not looked_at(person, local(3, "with:lima", n=5))
    assert not looked_at(person, local(4, "with:lima", label="GPE", n=4))  # four labels are not enough to part

"""Search by pictures over a record that a real ingest filled, with a tiny open_clip model of the real class."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kg.errors import CorruptFileError, EmptyFileError, InputError, LimitExceededError
from kg.limits import LoadLimits
from kg.stores.record import open_record
from retrieval.config import RetrievalConfig
from retrieval.encoders.open_clip_encoder import OpenClipEncoder
from retrieval.encoders.perceptual import PerceptualEncoder
from retrieval.engine import RetrievalEngine
from retrieval.fakes import HashingTextEncoder
from retrieval.image_search import PictureSearch
from retrieval.types import Query
from tests.retrieval.encoders.tiny_clip import write_tiny_clip
from tests.retrieval.pictures import chart, ingest, saved

FERRIES, CARGO, PHOTO, OTHER = (saved(chart(seed)) for seed in range(4))
FILES = {
    "ferries.png": FERRIES,
    "cargo.png": CARGO,
    "dusk-at-sea.png": PHOTO,
    "copy-of-ferries.png": FERRIES,
    "velden.txt": b"Velden\n\nVelden opened its harbour in 1871.",
    "birds.txt": b"Birds\n\nGulls and terns nest on the cliffs.",
}
SAID = {FERRIES: "Passengers of the ferries of Velden", CARGO: "Cargo by month"}


class Counting(OpenClipEncoder):
    """Counts the pictures that it was given."""

    n_seen = 0

    def encode_images(self, images):
        self.n_seen += len(images)
        return super().encode_images(images)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def store(tmp_path):
    opened = open_record(tmp_path / "record.sqlite")
    yield opened
    opened.close()


def read_words(data: bytes) -> str:
    return SAID.get(data, "")


def make_engine(store, tmp_path, image_encoder=None, *, config=None, text_encoder=None, limits=None):
    config = config or RetrievalConfig()
    index_dir = tmp_path / "index"
    pictures = PictureSearch(store, config, index_dir, encoder=image_encoder, limits=limits)
    return RetrievalEngine(
        store,
        text_encoder or HashingTextEncoder(),
        config,
        index_dir,
        describe_image=read_words,
        pictures=pictures,
    )


def names(evidence):
    return [item.document.name for item in evidence]


def finders(item):
    return {contribution.retriever for contribution in item.contributions}


@pytest.fixture
def filled(store):
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder()])
    return store


# ------------------------------------------------------------------ copies, without any model


@pytest.mark.parametrize("mode", ["auto", "hybrid", "naive", "bm25", "local"])
def test_the_picture_itself_comes_first_in_every_mode(filled, tmp_path, mode):
    evidence, trace = make_engine(filled, tmp_path).search(Query(image=CARGO), k=3, mode=mode)

    assert names(evidence)[0] == "cargo.png"
    (copy,) = [one for one in evidence[0].contributions if one.retriever == "copy"]
    assert (copy.rank, copy.score) == (1, 1.0)
    assert [item.score for item in evidence] == sorted((item.score for item in evidence), reverse=True)
    assert "pictures" in [name for name, _ in trace.stages]


def test_both_documents_of_one_picture_come_first(filled, tmp_path):
    evidence, _ = make_engine(filled, tmp_path).search(Query(image=FERRIES), k=4)

    assert set(names(evidence)[:2]) == {"ferries.png", "copy-of-ferries.png"}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_smaller_copy_in_another_format_comes_first_though_it_has_no_words(filled, tmp_path, kind):
    copy = saved(chart(2).resize((160, 120)), kind)

    evidence, trace = make_engine(filled, tmp_path).search(Query(image=copy), k=3)

    assert names(evidence)[0] == "dusk-at-sea.png"
    assert "copy" in finders(evidence[0])
    assert "no words were found on the picture" in trace.notes


def test_a_stranger_without_words_finds_nothing_and_says_so(filled, tmp_path):
    evidence, trace = make_engine(filled, tmp_path).search(Query(image=OTHER), k=3)

    assert evidence == []
    assert "no words were found on the picture" in trace.notes


def test_a_picture_leads_through_its_names_to_what_is_said_elsewhere(filled, tmp_path):
    evidence, _ = make_engine(filled, tmp_path).search(Query(image=FERRIES), k=6)

    (velden,) = [item for item in evidence if item.document.name == "velden.txt"]
    assert "Velden" in velden.entities
    assert "birds.txt" not in names(evidence)[:3]


def test_words_and_a_picture_are_searched_together(filled, tmp_path):
    engine = make_engine(filled, tmp_path)
    evidence, _ = engine.search(Query(text="Where do gulls nest?", image=CARGO), k=4, mode="hybrid")

    assert names(evidence)[0] == "cargo.png"  # the picture itself, whatever the words say
    assert names(evidence)[1] == "birds.txt"  # what the words ask for
    assert {"bm25", "dense"} <= finders(evidence[1])


def test_a_filter_binds_copies(filled, tmp_path):
    (document,) = [info for info in filled.documents() if info.name == "copy-of-ferries.png"]
    evidence, _ = make_engine(filled, tmp_path).search(Query(image=FERRIES), k=4, document_ids=[document.document_id])

    assert names(evidence) == ["copy-of-ferries.png"]


def test_a_picture_without_any_words_is_found_by_its_files_name(filled, tmp_path):
    evidence, _ = make_engine(filled, tmp_path).search(Query(text="dusk at sea"), k=1, mode="bm25")

    assert names(evidence) == ["dusk-at-sea.png"]
    assert [line.source for line in evidence[0].lines] == ["name"]
    assert filled.mentions(evidence[0].chunk.chunk_id) == []  # a file's name states nothing


def test_pictures_of_a_deleted_document_are_found_no_more(filled, tmp_path):
    engine = make_engine(filled, tmp_path)
    engine.search(Query(image=CARGO), k=1)
    (document,) = [info for info in filled.documents() if info.name == "cargo.png"]
    filled.remove(document.document_id)

    assert "cargo.png" not in names(engine.search(Query(image=CARGO), k=9)[0])
    engine.refresh()
    assert filled.picture_vector_counts() == {PerceptualEncoder.fingerprint: 2}


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_a_missing_or_damaged_index_file_is_built_again(filled, tmp_path, spoil):
    make_engine(filled, tmp_path).refresh()
    file = tmp_path / "index" / "copies.index"
    whole = file.read_bytes()
    spoil(file)

    evidence, _ = make_engine(filled, tmp_path).search(Query(image=saved(chart(1), "JPEG")), k=1)

    assert names(evidence) == ["cargo.png"]
    assert file.read_bytes() == whole


# ------------------------------------------------------------------ pictures and words in one space


def test_the_whole_road_from_files_to_a_hit_by_image_vectors(store, tmp_path, clip):
    encoder = Counting(clip)
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder(), encoder])
    assert store.picture_vector_counts() == {PerceptualEncoder.fingerprint: 3, encoder.fingerprint: 3}
    assert encoder.n_seen == 3  # of four files, two hold the same picture

    evidence, _ = make_engine(store, tmp_path, encoder).search(Query(image=OTHER), k=4, mode="hybrid")

    vectors = store.picture_vectors(encoder=encoder.fingerprint, sha256s=[row.sha256 for row in store.picture_rows()])
    (query,) = encoder.encode_images([OTHER])
    cosine_of = {row.chunk_id: float(vectors[row.sha256] @ query) for row in store.picture_rows()}
    best = max(cosine_of.values())
    assert all("image" in finders(item) for item in evidence)
    assert evidence[0].contributions[0].score == pytest.approx(best, abs=1e-6)
    found = [item.chunk.chunk_id for item in evidence]
    assert found == sorted(cosine_of, key=lambda chunk_id: (-round(cosine_of[chunk_id], 6), chunk_id))


def test_words_find_the_pictures_that_stand_out_for_them(store, tmp_path, clip):
    encoder = OpenClipEncoder(clip)
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder(), encoder])
    question = "gulls on the cliffs"
    evidence, _ = make_engine(store, tmp_path, encoder).search(Query(text=question), k=9, mode="hybrid")

    rows = store.picture_rows()
    vectors = store.picture_vectors(encoder=encoder.fingerprint, sha256s=[row.sha256 for row in rows])
    (words,) = encoder.encode_texts([question])
    cosines = {row.chunk_id: float(vectors[row.sha256] @ words) for row in rows}
    above = {chunk_id for chunk_id, cosine in cosines.items() if cosine > np.mean(list(cosines.values()))}
    assert {item.chunk.chunk_id for item in evidence if "image_text" in finders(item)} == above
    assert names(evidence)[0] == "birds.txt"  # vectors of pictures do not push aside the passage that answers


@pytest.mark.parametrize("mode", ["naive", "bm25", "local"])
def test_modes_of_one_retriever_stay_what_they_are_called(store, tmp_path, clip, mode):
    encoder = OpenClipEncoder(clip)
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder(), encoder])
    evidence, _ = make_engine(store, tmp_path, encoder).search(Query(text="gulls of Velden"), k=9, mode=mode)

    assert not any(finders(item) & {"copy", "image", "image_text"} for item in evidence)


def test_a_new_version_of_a_document_costs_only_its_new_pictures(store, tmp_path, clip):
    encoder = Counting(clip)
    ingest(store, {"a.png": FERRIES, "b.png": CARGO}, pictures=[encoder])
    ingest(store, {"a.png": CARGO}, pictures=[encoder])  # the same name with another picture, which b.png has

    assert encoder.n_seen == 2
    assert store.picture_vector_counts() == {encoder.fingerprint: 1}


def test_pictures_of_before_the_encoder_are_reported_and_made_by_reindex(store, tmp_path, clip):
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder()])
    encoder = Counting(clip)
    config = RetrievalConfig(max_pictures_by_search=2)
    engine = make_engine(store, tmp_path, encoder, config=config)

    evidence, trace = engine.search(Query(image=CARGO), k=2)
    assert names(evidence)[0] == "cargo.png"  # copies need no encoder
    assert any("3 pictures have no vector of open_clip" in note and "mmkg reindex" in note for note in trace.notes)
    assert any("3 pictures" in note for note in engine.refresh())

    steps = []
    assert engine.pictures.reindex(lambda done, total: steps.append((done, total))) == 3
    assert steps == [(3, 3)]
    assert engine.pictures.reindex(lambda *_: None) == 0
    evidence, trace = engine.search(Query(image=CARGO), k=2)
    assert "image" in finders(evidence[0])
    assert not any("mmkg reindex" in note for note in trace.notes)


def test_a_few_missing_pictures_are_encoded_on_the_way(store, tmp_path, clip):
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder()])
    encoder = OpenClipEncoder(clip)

    evidence, _ = make_engine(store, tmp_path, encoder).search(Query(image=CARGO), k=1)

    assert "image" in finders(evidence[0])
    assert store.pictures_without_vector(encoder=encoder.fingerprint) == []


def test_another_encoder_has_vectors_and_an_index_of_its_own(store, tmp_path, clip):
    one, other = OpenClipEncoder(clip), OpenClipEncoder(write_tiny_clip(tmp_path / "other", seed=1))
    ingest(store, FILES, said=SAID, pictures=[PerceptualEncoder(), one])
    make_engine(store, tmp_path, one).refresh()
    changed = make_engine(store, tmp_path, other)
    evidence, _ = changed.search(Query(image=OTHER), k=1, mode="hybrid")

    (query,) = other.encode_images([OTHER])
    vectors = store.picture_vectors(encoder=other.fingerprint, sha256s=[row.sha256 for row in store.picture_rows()])
    assert evidence[0].contributions[0].score == pytest.approx(
        max(float(v @ query) for v in vectors.values()), abs=1e-6
    )
    assert len(store.picture_vector_counts()) == 3


# ------------------------------------------------------------------ bad pictures


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", EmptyFileError, "empty"),
        (b"%PDF-1.7 nothing", InputError, "is application/pdf"),
        (b"just some words", InputError, "is text/plain"),
        (CARGO[:200], CorruptFileError, "truncated or damaged"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(filled, tmp_path, data, error, message):
    with pytest.raises(error, match=message):
        make_engine(filled, tmp_path).search(Query(text="x", image=data), k=1)


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(filled, tmp_path):
    engine = make_engine(filled, tmp_path, limits=LoadLimits(max_pixels=1000))

    with pytest.raises(LimitExceededError, match="320 x 240 pixels"):
        engine.search(Query(image=CARGO), k=1)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (1, 1), "red"),
        Image.new("RGBA", (40, 40), (0, 0, 0, 0)),
        Image.new("CMYK", (40, 30)),
        Image.new("I;16", (8, 8)),
        Image.new("P", (50, 2000)),
    ],
    ids=["one pixel", "transparent", "cmyk", "16 bits", "long"],
)
def test_odd_pictures_are_searched_like_any_other(filled, tmp_path, clip, image):
    kind = "TIFF" if image.mode in ("CMYK", "I;16") else "PNG"
    engine = make_engine(filled, tmp_path, OpenClipEncoder(clip))
    evidence, _ = engine.search(Query(text="gulls", image=saved(image, kind)), k=3)

    assert "birds.txt" in names(evidence)
    assert not any("copy" in finders(item) for item in evidence)


def test_an_animation_is_searched_by_each_of_its_slides(filled, tmp_path):
    slides = [chart(7), chart(1), chart(2)]
    animation = saved(slides[0], "GIF", save_all=True, append_images=slides[1:], duration=100)

    evidence, _ = make_engine(filled, tmp_path).search(Query(image=animation), k=2)

    assert set(names(evidence)) == {"cargo.png", "dusk-at-sea.png"}

import bz2
import gzip
import lzma
import tarfile

import pytest

from kg.limits import LoadLimits
from kg.loaders.discover import discover, expand, raw_from_bytes
from kg.types import RawFile
from tests.kg.loaders.conftest import picture_bytes, zip_bytes
from tests.kg.loaders.packing import tar_bytes

LIMITS = LoadLimits()
PACK = {"gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress}


def found(name, data, *, limits=LIMITS):
    items = expand(raw_from_bytes(name, data), limits=limits)
    return [
        (item.source.removeprefix(f"upload:{name}"), item.data if isinstance(item, RawFile) else item.error_code)
        for item in items
    ]


MEMBERS = {"a/one.txt": b"one", "two.md": b"# two", ".hidden": b"x"}


@pytest.mark.parametrize("suffix", ["", "gz", "bz2", "xz"])
def test_archive_is_expanded_whatever_it_is_compressed_with(suffix):
    data = tar_bytes(MEMBERS)

    assert found(f"a.tar.{suffix}", PACK[suffix](data) if suffix else data) == [
        ("!/a/one.txt", b"one"),
        ("!/two.md", b"# two"),
    ]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_single_compressed_file_is_one_file(suffix):
    assert found(f"notes.txt.{suffix}", PACK[suffix](b"words")) == [("!/notes.txt", b"words")]


def test_links_devices_and_paths_that_lead_outside_are_refused_and_the_rest_comes_in():
    links = [("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("c", tarfile.CHRTYPE), ("f", tarfile.FIFOTYPE)]
    data = tar_bytes({"../up.txt": b"x", "/abs.txt": b"x", "ok.txt": b"ok", "./ok.txt": b"again"}, links=links)

    assert found("a.tar", data) == [
        ("!/../up.txt", "unsafe_path"),
        ("!//abs.txt", "unsafe_path"),
        ("!/ok.txt", b"ok"),
        ("!/./ok.txt", "corrupt"),
        *((f"!/{name}", "unsafe_path") for name, _ in links),
    ]


def test_archives_inside_archives_are_expanded_to_a_depth():
    deep = zip_bytes({"x.txt": b"deep"})
    for number in range(4):
        deep = tar_bytes({f"{number}.zip": deep, "y.txt": b"y"}) if number % 2 else zip_bytes({f"{number}.tar": deep})

    items = found("a.tar", tar_bytes({"in.zip": deep}), limits=LoadLimits(max_archive_depth=2))

    assert [content for _, content in items if content == "unsupported"] == ["unsupported"]
    assert found("a.zip", zip_bytes({"b.tar": tar_bytes({"c.txt": b"c"})})) == [("!/b.tar!/c.txt", b"c")]


def test_all_that_one_file_expands_to_is_one_budget():
    inner = zip_bytes({"x.txt": b"x" * 400})
    data = tar_bytes({f"{number}.zip": inner for number in range(5)})
    budget = LoadLimits(max_archive_bytes=len(data) + 900)

    assert [content if isinstance(content, str) else "ok" for _, content in found("a.tar", data, limits=budget)][
        :3
    ] == [
        "ok",
        "ok",
        "limit",
    ]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_bomb_is_stopped_by_its_ratio(suffix):
    bomb = PACK[suffix](b"\0" * 30_000_000)

    assert found(f"a.txt.{suffix}", bomb) == [("", "limit")]
    assert found(f"a.tar.{suffix}", PACK[suffix](tar_bytes({"a.txt": b"\0" * 30_000_000}))) == [("", "limit")]


def test_limits_of_size_and_number_hold():
    data = tar_bytes({"a.txt": b"a" * 100, "b.txt": b"b", "c.txt": b"c"})

    assert found("a.tar", data, limits=LoadLimits(max_bytes=50)) == [
        ("!/a.txt", "limit"),
        ("!/b.txt", b"b"),
        ("!/c.txt", b"c"),
    ]
    assert found("a.tar", data, limits=LoadLimits(max_archive_members=1)) == [("!/a.txt", b"a" * 100), ("", "limit")]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_truncated_archive_is_corrupt_behind_what_could_be_read(suffix):
    data = PACK[suffix](tar_bytes({"a.txt": b"a", "b.bin": bytes(range(256)) * 2000}))

    assert found(f"a.tar.{suffix}", data[: len(data) // 2])[-1] == ("", "corrupt")


def test_xz_that_asks_for_too_much_memory_is_corrupt():
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 30}]

    assert found("a.txt.xz", lzma.compress(b"words", filters=filters)) == [("", "corrupt")]


def test_archive_without_files_says_so():
    assert found("a.tar", tar_bytes({".hidden": b"x"})) == [("", "unsupported")]


@pytest.mark.parametrize("pack", [tar_bytes, lambda members: gzip.compress(tar_bytes(members)), zip_bytes])
def test_page_in_an_archive_reads_its_pictures_from_that_archive(tmp_path, load, pack):
    inner = pack({"docs/p.md": b"![a](../img/a.png) words", "img/a.png": picture_bytes()})
    (tmp_path / "site").write_bytes(inner)
    (tmp_path / "outer.zip").write_bytes(zip_bytes({"site.bin": inner}))

    pages = [
        item
        for candidate in discover([tmp_path / "site", tmp_path / "outer.zip"], limits=LIMITS)
        for item in candidate.read()
        if item.name == "p.md"
    ]

    assert [len(load(page.name, page.data, source=page.source).assets) for page in pages] == [1, 1]

import os
import random
import socket
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from kg.errors import InputError
from kg.limits import LoadLimits
from kg.loaders.discover import FileFailure, discover, expand, raw_from_bytes
from kg.types import IngestStatus, RawFile

LIMITS = LoadLimits()


def names(paths, *, base):
    """Return the files found, relative to ``base``; a failure as ``!code``."""
    found = []
    for candidate in discover(paths, limits=LIMITS):
        for item in candidate.read():
            name = Path(item.source).relative_to(base).as_posix() if item.source.startswith(str(base)) else item.source
            found.append(name if isinstance(item, RawFile) else f"{name} !{item.error_code}")
    return found


def read(paths, *, limits=LIMITS):
    return [item for candidate in discover(paths, limits=limits) for item in candidate.read()]


def code(item):
    assert isinstance(item, FileFailure)
    return item.error_code


def test_folder_is_read_recursively_in_order_without_hidden_files(tree):
    root = tree({"b.txt": "b", "a/z.md": "z", "a/c.txt": "c", ".hidden": "h", ".git/config": "g", "a/.x.txt": "x"})

    assert names([root], base=root) == ["a/c.txt", "a/z.md", "b.txt"]


def test_file_that_is_named_itself_is_read_even_if_hidden_and_carries_its_identity(tree):
    root = tree({".notes": "words"})

    (raw,) = read([root / ".notes"])

    assert (raw.source, raw.name, raw.media_type, raw.data) == (
        (root / ".notes").as_posix(),
        ".notes",
        "text/plain",
        b"words",
    )
    assert raw.root == root.as_posix()


def test_file_met_on_several_ways_comes_in_once(tree, monkeypatch):
    root = tree({"a.txt": "a", "b.txt": "b"})
    (root / "again.txt").symlink_to("a.txt")
    monkeypatch.chdir(root)

    assert names([root, root / "a.txt", "a.txt", "./*.txt", root / "sub" / ".." / "b.txt"], base=root)[:2] == [
        "a.txt",
        "b.txt",
    ]
    assert names([root, "a.txt", "*.txt"], base=root) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.md", ["c.md"]),
        ("[ac].*", ["a.txt", "c.md"]),
        ("**/*.md", ["c.md", "sub/d.md", "sub/deep/e.md"]),
        ("sub/**", ["sub/d.md", "sub/deep/e.md", "sub/deep/f.txt"]),
        ("sub/*/e.md", ["sub/deep/e.md"]),
        ("s*", ["sub/d.md", "sub/deep/e.md", "sub/deep/f.txt"]),
    ],
)
def test_globs_match_within_names_and_two_stars_across_folders(tree, pattern, expected):
    root = tree(dict.fromkeys(("a.txt", "b.txt", "c.md", "sub/d.md", "sub/deep/e.md", "sub/deep/f.txt", ".h.txt"), "x"))

    assert names([root / pattern], base=root) == expected


def test_existing_name_with_brackets_is_not_read_as_a_pattern(tree):
    root = tree({"notes[1].txt": "x", "notes1.txt": "y"})

    assert names([root / "notes[1].txt"], base=root) == ["notes[1].txt"]


def test_path_glob_and_folder_that_mean_nothing_say_so(tree):
    root = tree({"a.txt": "a"})
    (root / "empty").mkdir()

    missing, nothing, empty = (item for item in read([root / "none.txt", root / "*.pdf", root / "empty"]))

    assert {code(missing), code(nothing), code(empty)} == {"unreadable"}
    assert "there is no such file or folder" in missing.message
    assert "matches no file" in nothing.message
    assert "holds no files" in empty.message


def test_loops_of_links_end_and_are_reported(tree):
    root = tree({"a/b.txt": "b"})
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "self").symlink_to("self")
    (root / "x").symlink_to("y")
    (root / "y").symlink_to("x")

    expected = ["a/b.txt", "self !unreadable", "x !unreadable", "y !unreadable"]
    assert names([root], base=root) == expected
    assert names([root / "**"], base=root) == expected


def test_link_that_leaves_the_folder_is_refused_and_one_that_stays_is_followed(tree, tmp_path):
    root = tree({"real/a.txt": "a"})
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "outside").mkdir()
    (root / "inside").symlink_to(root / "real", target_is_directory=True)
    (root / "leak.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path / "outside", target_is_directory=True)

    assert names([root], base=root) == ["real/a.txt", "leak.txt !unsafe_path", "out !unsafe_path"]
    assert names([root / "leak.txt"], base=tmp_path) == ["secret.txt"]  # named by the user: meant


def test_broken_link_is_reported_with_its_target_and_the_rest_comes_in(tree):
    root = tree({"b.txt": "b"})
    (root / "a.txt").symlink_to("gone.txt")

    broken, good = read([root])

    assert code(broken) == "unreadable"
    assert "broken link to gone.txt" in broken.message
    assert good.name == "b.txt"


@pytest.mark.timeout(20)
def test_pipes_sockets_and_devices_are_refused_without_being_opened(tree, monkeypatch):
    root = tree({"z.txt": "z"})
    os.mkfifo(root / "pipe.txt")
    monkeypatch.chdir(root)  # the path of a socket is limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.txt")
        pipe, sock, good, device = read([root, "/dev/null"])

    assert [code(item) for item in (pipe, sock, device)] == ["unreadable"] * 3
    assert "a pipe" in pipe.message
    assert "a socket" in sock.message
    assert "a device" in device.message
    assert good.name == "z.txt"


@contextmanager
def without_privileges():
    """Act as a user whom permissions bind, for root reads whatever they say."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_and_folders_without_permission_are_reported_per_file():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        root = Path(folder).resolve()
        root.chmod(0o755)
        for name in ("a.txt", "b.txt", "locked/c.txt"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text("words")
        (root / "a.txt").chmod(0)
        (root / "locked").chmod(0)
        with without_privileges():
            found = names([root], base=root)
        (root / "locked").chmod(0o700)

    assert found == ["a.txt !unreadable", "b.txt", "locked !unreadable"]


def test_file_that_vanishes_between_listing_and_reading_is_reported(tree):
    root = tree({"a.txt": "a", "b.txt": "b"})
    candidates = discover([root], limits=LIMITS)
    (root / "a.txt").unlink()

    gone, good = (item for candidate in candidates for item in candidate.read())

    assert code(gone) == "unreadable"
    assert good.name == "b.txt"


def test_file_over_the_limit_is_refused_by_its_size_alone(tree):
    root = tree({"a.txt": "x" * 101})
    with (root / "sparse.bin").open("wb") as stream:
        stream.truncate(1 << 40)  # a terabyte of nothing: reading it would not end

    small, sparse = read([root], limits=LoadLimits(max_bytes=100))

    assert (code(small), code(sparse)) == ("limit", "limit")
    assert "101 bytes, more than the limit max_bytes = 100" in small.message


def test_empty_file_and_binary_garbage_are_reported_and_the_rest_comes_in(tree):
    root = tree({"a.txt": "", "c.txt": "c"})
    (root / "b.txt").write_bytes(b"\x01\x02" + random.Random(1).randbytes(2_000))

    empty, garbage, good = read([root])

    assert (code(empty), code(garbage), good.name) == ("empty", "unsupported", "c.txt")


def test_failure_becomes_a_line_of_the_report(tree):
    (failure,) = read([tree({}) / "none.txt"])

    outcome = failure.outcome(seconds=0.5)

    assert (outcome.status, outcome.error_code, outcome.name) == (IngestStatus.FAILED, "unreadable", "none.txt")
    assert outcome.message == failure.message


@pytest.mark.parametrize("path", ["a\0b", "x" * 5_000, "~nobody-of-that-name/x"])
def test_impossible_paths_are_failures_not_crashes(path):
    (failure,) = read([path])

    assert code(failure) == "unreadable"


def test_no_paths_at_all_is_the_callers_mistake():
    with pytest.raises(InputError, match="at least one"):
        discover([], limits=LIMITS)


def test_zip_archive_is_expanded_in_memory_with_members_named_after_it(tree, archive, picture):
    root = tree({})
    (root / "a.zip").write_bytes(
        archive({"x/one.md": b"# One", "two.png": picture(), ".DS_Store": b"x", "__MACOSX/x": b"x", "folder/": b""})
    )

    one, two = read([root])

    assert (one.source, one.name, one.media_type) == (
        f"{(root / 'a.zip').as_posix()}!/x/one.md",
        "one.md",
        "text/markdown",
    )
    assert (two.name, two.media_type) == ("two.png", "image/png")


def test_archive_members_that_lead_outside_are_refused_and_the_others_come_in(archive):
    unsafe = ["../up.txt", "/abs.txt", "C:\\x.txt", "a/../../b"]
    raw = raw_from_bytes("a.zip", archive(dict.fromkeys([*unsafe, "ok.txt"], b"x")))

    items = list(expand(raw, limits=LIMITS))

    assert [code(item) for item in items[:4]] == ["unsafe_path"] * 4
    assert items[4].source == "upload:a.zip!/ok.txt"


def test_archive_with_links_nested_archives_bad_and_repeated_members_reports_each(tmp_path, archive):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
        packed.writestr("inner.zip", archive({"x.txt": b"x"}))
        packed.writestr("empty.txt", b"")
        packed.writestr("same.txt", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("same.txt", b"second")

    *failures, _, _ = items = read([path])

    link, nested, empty = failures
    assert (code(link), nested.source.endswith("a.zip!/inner.zip!/x.txt"), code(empty)) == (
        "unsafe_path",
        True,
        "empty",
    )
    assert items[3].data == b"first"
    assert code(items[4]) == "corrupt"


@pytest.mark.parametrize("name", [b"././/.", b"\0x.txt"])  # what follows a zero byte is not part of a name
def test_member_of_an_archive_without_a_name_is_reported_and_the_rest_comes_in(archive, name):
    data = archive({"xx.txt": b"No name.", "ok.txt": b"Words."}).replace(b"xx.txt", name)

    failure, good = expand(raw_from_bytes("a.zip", data), limits=LIMITS)

    assert code(failure) == "corrupt"
    assert "of none" in failure.message
    assert failure.name
    assert good.name == "ok.txt"


def test_encrypted_member_is_reported_as_encrypted(archive):
    data = bytearray(archive({"a.txt": b"a"}))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1

    (failure,) = expand(raw_from_bytes("a.zip", bytes(data)), limits=LIMITS)

    assert code(failure) == "encrypted"


def test_member_with_a_wrong_checksum_is_corrupt(archive):
    data = archive({"a.txt": b"hello hello", "b.txt": b"fine"}, compression=zipfile.ZIP_STORED)

    bad, good = expand(raw_from_bytes("a.zip", data.replace(b"hello hello", b"jello hello")), limits=LIMITS)

    assert (code(bad), good.data) == ("corrupt", b"fine")


def test_truncated_archive_is_corrupt(archive):
    data = archive({"a.txt": b"a" * 1000})

    (failure,) = expand(raw_from_bytes("a.zip", data[:-30]), limits=LIMITS)

    assert code(failure) == "corrupt"


def test_zip_bomb_is_stopped_by_its_compression_ratio(archive):
    data = archive({"bomb.txt": b"\0" * 30_000_000, "ok.txt": b"ok"})

    bomb, good = expand(raw_from_bytes("bomb.zip", data), limits=LIMITS)

    assert len(data) < 50_000
    assert code(bomb) == "limit"
    assert "zip bomb" in bomb.message
    assert good.data == b"ok"


def test_archive_budget_counts_all_members_together(archive):
    data = archive({f"{i}.txt": random.Random(i).randbytes(200).hex().encode() for i in range(5)})  # 400 bytes each

    items = list(expand(raw_from_bytes("a.zip", data), limits=LoadLimits(max_archive_bytes=900)))

    assert [isinstance(item, RawFile) for item in items] == [True, True, False, False, False]
    assert {code(item) for item in items[2:]} == {"limit"}


def test_member_limits_of_size_and_number(archive):
    data = archive({"a.txt": b"a" * 100, "b.txt": b"b"})
    raw = raw_from_bytes("a.zip", data)

    large, small = expand(raw, limits=LoadLimits(max_bytes=50))
    assert (code(large), small.data) == ("limit", b"b")

    (failure,) = expand(raw, limits=LoadLimits(max_archive_members=1))
    assert "2 members, more than the limit max_archive_members = 1" in failure.message


def test_archive_that_lies_about_sizes_is_counted_while_expanding(archive):
    data = archive({"a.txt": b"\0" * 6_000_000})
    entry = data.index(b"PK\x01\x02")
    lied = bytearray(data)
    lied[entry + 24 : entry + 28] = (10).to_bytes(4, "little")  # it claims to expand to ten bytes

    (failure,) = expand(raw_from_bytes("a.zip", bytes(lied)), limits=LIMITS)

    assert code(failure) in {"corrupt", "limit"}


def test_archive_without_files_says_so(archive):
    (failure,) = expand(raw_from_bytes("a.zip", archive({".hidden": b"x"})), limits=LIMITS)

    assert "holds no files" in failure.message


def test_page_in_an_archive_reads_its_pictures_from_the_archive(tmp_path, archive, picture, load):
    path = tmp_path / "site.zip"
    path.write_bytes(archive({"docs/p.md": b"![a](../img/a.png) ![b](../../b.png) words", "img/a.png": picture()}))
    page = read([path])[0]

    document = load(page.name, page.data, source=page.source)

    assert len(document.assets) == 1
    assert document.metadata["pictures_left_out"] == "1 unsafe_path"


def test_upload_drops_folders_from_its_name():
    raw = raw_from_bytes("C:\\fakepath\\../x/report.txt", b"words")

    assert (raw.name, raw.source) == ("report.txt", "upload:report.txt")
    with pytest.raises(InputError, match="not a file name"):
        raw_from_bytes("///", b"words")

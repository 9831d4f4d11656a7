from pathlib import Path

from kg.limits import LoadLimits
from kg.loaders.discover import discover
from kg.types import RawFile


def names(*arguments, base):
    found = [item for candidate in discover(list(arguments), limits=LoadLimits()) for item in candidate.read()]
    return [
        Path(item.source).relative_to(base).as_posix() if isinstance(item, RawFile) else f"!{item.error_code}"
        for item in found
    ]


def test_patterns_of_a_folder_leave_out_files_and_folders_below_it(tree):
    root = tree(
        {".mmkgignore": "# drafts\n*.log\n/build/\ndrafts/\n"}
        | dict.fromkeys(("a.txt", "b.log", "build/c.txt", "sub/build/d.txt", "sub/drafts/e.txt", "sub/f.log"), "x")
    )

    assert names(root, base=root) == ["a.txt", "sub/build/d.txt"]


def test_deeper_file_outweighs_those_above_and_the_last_pattern_decides(tree):
    root = tree(
        {".mmkgignore": "*.txt\n!keep.txt\n", "sub/.mmkgignore": "!*.txt\nkeep.txt\n"}
        | dict.fromkeys(("a.txt", "keep.txt", "sub/b.txt", "sub/keep.txt", "sub/deep/c.txt", "d.md"), "x")
    )

    assert names(root, base=root) == ["d.md", "keep.txt", "sub/b.txt", "sub/deep/c.txt"]


def test_file_in_a_folder_that_is_left_out_cannot_be_taken_back(tree):
    root = tree({".mmkgignore": "old/\n!old/a.txt\n", "old/.mmkgignore": "!a.txt", "old/a.txt": "x", "b.txt": "x"})

    assert names(root, base=root) == ["b.txt"]


def test_folders_of_programs_are_left_out_unless_they_are_taken_back(tree):
    files = dict.fromkeys(("node_modules/a.md", "sub/__pycache__/b.txt", "c.txt"), "x")

    assert names(tree(files), base=tree(files)) == ["c.txt"]
    assert names(tree({**files, ".mmkgignore": "!node_modules/"}), base=tree(files)) == ["c.txt", "node_modules/a.md"]


def test_ignored_file_that_is_named_itself_is_read_and_one_that_a_pattern_matches_is_not(tree):
    root = tree({".mmkgignore": "*.txt", "a.txt": "x", "b.md": "x"})

    assert names(root / "a.txt", base=root) == ["a.txt"]
    assert names(root / "*", base=root) == ["b.md"]


def test_unusable_ignore_file_is_reported_and_leaves_nothing_out(tree):
    root = tree({"a.txt": "x", ".mmkgignore": "#" * 300_000})

    assert names(root, base=root) == ["a.txt", "!unreadable"]


def test_folder_whose_files_are_all_left_out_says_so(tree):
    root = tree({".mmkgignore": "*", "a.txt": "x"})

    (item,) = (item for candidate in discover([root], limits=LoadLimits()) for item in candidate.read())

    assert "hidden and ignored ones are skipped" in item.message

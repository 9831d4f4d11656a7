"""Workspaces are folders under the home and nowhere else, opened once however many ask."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.settings import load_settings
from api.wiring import Wiring
from api.workspaces import RECORD_FILE, Workspaces
from kg.errors import InputError, NotFoundError
from kg.testing import make_delta


@pytest.fixture
def workspaces(tmp_path):
    wiring = Wiring(load_settings(environ={}, overrides={"home": tmp_path / "home", "cache": tmp_path / "cache"}))
    made = Workspaces(tmp_path / "home", open_workspace=wiring.open_workspace)
    yield made
    made.close()


@pytest.mark.parametrize("name", ["a", "Notes-2024", "x.y_z", "0", "a" * 64])
def test_a_name_of_letters_digits_and_marks_is_a_folder_under_the_home(workspaces, tmp_path, name):
    assert workspaces.get(name, create=True).folder == tmp_path / "home" / name
    assert (tmp_path / "home" / name / RECORD_FILE).is_file()
    assert workspaces.names() == [name]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "a/b", "a\\b", "/etc", "~", "-rf", ".hidden", "a b", "a\n", "a\0", "ä",
     "a" * 65, "%2e%2e"],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused_and_makes_nothing(workspaces, tmp_path, name):
    for create in (True, False):
        with pytest.raises(InputError, match="1 to 64 letters"):
            workspaces.get(name, create=create)

    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_not_there_names_those_that_are(workspaces, tmp_path):
    with pytest.raises(NotFoundError, match="there: none yet"):
        workspaces.get("notes", create=False)
    assert not (tmp_path / "home").exists()
    workspaces.get("letters", create=True)

    with pytest.raises(NotFoundError, match=r"there: letters\).*mmkg ingest PATH --workspace notes"):
        workspaces.get("notes", create=False)
    assert workspaces.names() == ["letters"]


def test_threads_that_ask_at_once_get_the_same_workspace(tmp_path):
    wiring = Wiring(load_settings(environ={}, overrides={"home": tmp_path, "cache": tmp_path / "cache"}))
    opened = []

    def open_workspace(name, folder):
        opened.append(name)
        return wiring.open_workspace(name, folder)

    workspaces = Workspaces(tmp_path, open_workspace=open_workspace)
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait(timeout=30)
        return workspaces.get("shared", create=True)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))

    assert opened == ["shared"]
    assert all(workspace is found[0] for workspace in found)
    workspaces.close()


def test_threads_that_need_retrieval_at_once_share_one_engine(tmp_path):
    from api.workspaces import Workspace

    made = []

    def make_engine():
        made.append(object())
        return made[-1]

    workspace = Workspace(name="w", folder=tmp_path, store=None, make_engine=make_engine)
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait(timeout=30)
        return workspace.engine

    with ThreadPoolExecutor(8) as pool:
        found = set(map(id, pool.map(ask, range(8))))

    assert found == {id(made[0])}
    assert len(made) == 1


def test_a_workspace_that_was_deleted_while_open_is_gone_and_can_be_made_anew(workspaces):
    before = workspaces.get("notes", create=True)
    before.store.apply(make_delta("Ada knows Bob."))
    shutil.rmtree(before.folder)

    with pytest.raises(NotFoundError):
        workspaces.get("notes", create=False)
    after = workspaces.get("notes", create=True)

    assert after is not before
    assert after.store.statistics()["documents"] == 0
    after.store.apply(make_delta("Ada knows Bob."))
    assert (after.folder / RECORD_FILE).is_file()  # what is written now survives


def test_closing_releases_every_record_and_the_next_use_opens_it_again(workspaces):
    first = workspaces.get("notes", create=True)
    first.store.apply(make_delta("Ada knows Bob."))
    workspaces.close()

    again = workspaces.get("notes", create=False)

    assert again is not first
    assert len(again.store.documents()) == 1

"""Settings: four sources in a known order, and nothing unknown passes."""

from pathlib import Path

import pytest

from api.settings import load_settings
from kg.errors import ConfigError


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path):
    file = tmp_path / "mmkg.yaml"
    file.write_text("k: 3\nworkspace: from-file\nport: 1000\n")
    environ = {"MMKG_WORKSPACE": "from-environment", "MMKG_PORT": "2000"}

    settings = load_settings(config=file, environ=environ, overrides={"port": 3000, "home": None})

    assert (settings.k, settings.workspace, settings.port) == (3, "from-environment", 3000)


def test_two_underscores_reach_into_a_section(tmp_path):
    settings = load_settings(environ={"MMKG_LIMITS__MAX_PAGES": "7"}, overrides={"home": tmp_path})

    assert settings.limits.max_pages == 7


def test_the_file_in_the_home_folder_is_read_without_being_named(tmp_path):
    (tmp_path / "mmkg.yaml").write_text("generator: lm\n")

    assert load_settings(environ={"MMKG_HOME": str(tmp_path)}).generator == "lm"


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("generatr: lm\n")

    with pytest.raises(ConfigError, match=r"'generatr'.*generator"):
        load_settings(config=file, environ={})


def test_an_unknown_key_of_a_section_is_refused_with_the_sections_name(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("limits:\n  max_page: 3\n")

    with pytest.raises(ConfigError, match=r"LoadLimits.*'max_page'.*max_pages"):
        load_settings(config=file, environ={})


@pytest.mark.parametrize(
    ("text", "message"),
    [("k: 0", "k: "), ("[1, 2]", "mapping"), ("a: [", "cannot be read"), ("port: http", "port: ")],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(tmp_path, text, message):
    file = tmp_path / "a.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_settings(config=file, environ={})


def test_a_settings_file_that_is_named_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(environ={"MMKG_CONFIG": str(tmp_path / "none.yaml")})


def test_a_secret_is_not_shown(tmp_path):
    settings = load_settings(environ={"MMKG_API_TOKEN": "hush"}, overrides={"home": tmp_path})

    assert "hush" not in repr(settings)
    assert settings.api_token.get_secret_value() == "hush"

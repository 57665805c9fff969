"""Settings come from four places, the strongest wins, and a misspelt one is an error."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from twinset_server.config import load
from twinset_server.errors import StartupError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_serve_on_loopback() -> None:
    settings = load({})
    assert settings.server.host == "127.0.0.1"
    assert settings.triton.url is None


def test_a_file_beats_defaults_a_variable_beats_the_file_and_an_argument_beats_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("twinset.toml").write_text("[server]\nport = 1\nhost = '127.0.0.2'\ndrain_s = 3\n")
    monkeypatch.setenv("TWINSET_SERVER__PORT", "2")
    monkeypatch.setenv("TWINSET_SERVER__HOST", "127.0.0.3")
    settings = load({"server": {"port": 3, "host": None}})
    assert (settings.server.port, settings.server.host, settings.server.drain_s) == (3, "127.0.0.3", 3)


def test_a_named_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[store]\npath = 'here'\n[spaces.own]\ndimension = 3\n")
    settings = load({}, tmp_path / "other.toml")
    assert settings.store.path == Path("here")
    assert settings.spaces["own"].dimension == 3


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"no settings file .*other\.toml"):
        load({}, tmp_path / "other.toml")


def test_a_file_that_is_no_toml_is_an_error() -> None:
    Path("twinset.toml").write_text("[server\n")
    with pytest.raises(StartupError, match="no TOML"):
        load({})


@pytest.mark.parametrize("text", ["[server]\nprot = 1\n", "[sevrer]\nport = 1\n", "[server]\nport = 70000\n"])
def test_an_unknown_or_malformed_key_is_an_error(text: str) -> None:
    Path("twinset.toml").write_text(text)
    with pytest.raises(ValidationError):
        load({})


def test_an_unknown_variable_of_a_section_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSET_SERVER__PROT", "1")
    with pytest.raises(ValidationError):
        load({})


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load({}).server.port = 1  # type: ignore[misc]

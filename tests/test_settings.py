"""Settings come from the environment, are refused by name, and stand in one table."""

import re
from pathlib import Path

import pytest

from heist import settings
from heist.errors import ConfigError
from heist.settings import Flags, Settings, variable

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HEIST_LLM", "lmstudio", "expected auto, simulated, local"),
        ("HEIST_LLM", "http://a b/v1", "expected auto, simulated, local"),
        ("HEIST_LLM_KEY", "schl\u00fcssel", "expected a key without blanks"),
        ("HEIST_SECRET", " " * 40, "expected at least 32 bytes"),
        ("HEIST_PORT", "many", "input should be a valid integer"),
        ("HEIST_PORT", "70000", "less than or equal to 65535"),
        ("HEIST_SECRET", "short", "expected at least 32 bytes"),
        ("HEIST_SECRET_BEFORE", "short", "expected at least 32 bytes"),
        ("HEIST_SECRET_BEFORE", "\t" * 40, "expected at least 32 bytes"),
        ("HEIST_SIGNING_KEYS", "-----BEGIN PRIVATE KEY-----\nMC4C", "expected the names of PEM files"),
        ("HEIST_URL", "heist.example", "expected an address without a path"),
        ("HEIST_URL", "https://heist.example/app", "expected an address without a path"),
        ("HEIST_URL", "https://heist.example?x=y", "expected an address without a path"),
        ("HEIST_URL", "https://user:word@heist.example", "expected an address without a path"),
        ("HEIST_URL", "ftp://heist.example", "expected an address without a path"),
        ("HEIST_URL", 'https://heist.example"', "expected an address without a path"),
        ("HEIST_URL", "https://heist.example\n", "expected an address without a path"),
        ("HEIST_LLM_TOOLS", "maybe", "'auto', 'native', 'schema' or 'text'"),
        ("HEIST_LLM_FIRST_SECONDS", "0", "greater than 0"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        settings.read()
    assert str(refused.value).startswith(f"{name}: ")
    assert expected in str(refused.value)


@pytest.mark.parametrize("name", ["HEIST_SECRET", "HEIST_SECRET_BEFORE"])
def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "too short to be good")
    with pytest.raises(ConfigError) as refused:
        settings.read()
    assert "too short" not in str(refused.value)
    monkeypatch.setenv(name, "hidden" * 8)
    assert "hidden" not in repr(settings.read())
    assert "hidden" not in settings.read().model_dump_json()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://heist.example", "https://heist.example"),
        ("https://heist.example/", "https://heist.example"),
        ("http://10.0.0.7:8008", "http://10.0.0.7:8008"),
        ("", None),
    ],
)
def test_the_address_that_others_see_ends_without_a_slash(
    monkeypatch: pytest.MonkeyPatch, given: str, url: str | None
) -> None:
    monkeypatch.setenv("HEIST_URL", given)
    assert settings.read().url == url


def test_key_files_are_named_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIST_SIGNING_KEYS", "new.pem, keys/old.pem")
    assert settings.read().key_files == [Path("new.pem"), Path("keys/old.pem")]


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIST_SECRET", "")
    assert settings.read().secret is None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_the_table_in_the_docs_has_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(HEIST_\w+)` \| (.*?) \| (.*?) \|$", PAGE.read_text(), flags=re.MULTILINE)
    fields = {variable(name): field for name, field in Settings.model_fields.items() if name != "flags"}
    fields |= {variable("flags", name): field for name, field in Flags.model_fields.items()}
    expected = []
    for name, field in fields.items():
        own = "the program's own" if name == "HEIST_CONFIG" else None
        expected.append((name, own or ("" if field.default in (None, "") else f"`{field.default}`"), field.description))
    assert rows == expected

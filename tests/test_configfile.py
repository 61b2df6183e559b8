"""A wrong file is refused in one sentence that says where and what was expected."""

from pathlib import Path

import pytest
from pydantic import Field

from heist.configfile import Section, load
from heist.errors import ConfigError


class Part(Section):
    size: int = Field(ge=1)


class Whole(Section):
    name: str
    parts: tuple[Part, ...] = ()


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path, Whole)
    return str(refused.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "name: x\nparts:\n  - size: 1\n  - size: 0\n",
            ", line 4: parts.1.size: input should be greater than or equal",
        ),
        ("name: x\ntypo: 1\n", ", line 2: typo: there is no such key"),
        ("parts: []\n", ", line 1: name: field required"),
        ("name: x\nname: y\n", ", line 2: not valid YAML: the key 'name' stands twice"),
        ("name: [x\nparts: []\n", ", line 2: not valid YAML: "),
        ("- name\n", ", line 1: expected a mapping of keys, found list"),
        ("", ", line 1: expected a mapping of keys, found NoneType"),
        ("name: x\nparts:\n  - {size: many}\n", ", line 3: parts.0.size: input should be a valid integer"),
        (
            "name: !!python/object/apply:os.system ['x']\n",
            ", line 1: not valid YAML: could not determine a constructor",
        ),
        ("? [a, b]\n: 1\n", ", line 1: not valid YAML: "),
        ("name: \x00\n", ": not valid YAML: "),
        ("name: 2026-99-99\n", ": holds what cannot be read: "),
        ("name: !!int abc\n", ": holds what cannot be read: "),
        ("name: " + "[" * 5000, ": holds what cannot be read: "),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_expectation(tmp_path: Path, text: str, sentence: str) -> None:
    said = refusal(tmp_path / "whole.yaml", text)
    assert said.startswith(sentence)
    assert "\n" not in said


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.yaml", Whole)


def test_a_folder_and_rubbish_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, Whole)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "latin.yaml", Whole)


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text("name: first\n")
    first = load(path, Whole)
    assert load(path, Whole) is first
    path.write_text("name: second one\n")
    assert load(path, Whole).name == "second one"

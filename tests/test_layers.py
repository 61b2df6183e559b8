"""Layers lie over defaults and variables over layers, what holds can be looked up, and flags switch while it runs."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

from heist import settings
from heist.app import create_app
from heist.cli.config import kinds, written
from heist.cli.main import cli
from heist.configfile import Section
from heist.errors import ConfigError, SwitchedOff
from heist.origins import origins, strangers
from heist.runtime import Runtime
from heist.settings import LAYERS, Flags, Settings, shipped
from heist.switches import Switches

pytestmark = pytest.mark.mission("S16")
SECRETS = {
    "HEIST_SECRET": "hidden-secret-" * 4,
    "HEIST_LLM": "http://clerk:hidden-word@127.0.0.1:1/v1",
    "HEIST_DATABASE_URL": "postgresql+psycopg://me:hidden-too@db/heist?sslpassword=hidden-also",
}


def layered(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, name: str = "mine") -> Path:
    """A layer of one's own, chosen."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    monkeypatch.setenv("HEIST_CONFIG", str(folder))
    monkeypatch.setenv("HEIST_ENV", name)
    return path


def test_without_a_layer_the_defaults_hold() -> None:
    assert (settings.read().env, settings.read().port, settings.read().flags) == (None, 8008, Flags())


def test_a_layer_lies_over_the_defaults_and_variables_over_the_layer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = layered(monkeypatch, tmp_path, "port: 1000\nstreams: 5\nflags:\n  judge: false\n  commands: false\n")
    monkeypatch.setenv("HEIST_PORT", "2000")
    monkeypatch.setenv("HEIST_FLAGS__COMMANDS", "true")
    chosen = settings.read()
    assert (chosen.port, chosen.streams, chosen.host) == (2000, 5, "127.0.0.1")
    assert chosen.flags == Flags(judge=False)
    found = {one.variable: (one.value, one.source) for one in origins(chosen)}
    assert found["HEIST_PORT"] == ("2000", "HEIST_PORT")
    assert found["HEIST_STREAMS"] == ("5", f"{path}, line 2")
    assert found["HEIST_HOST"] == ("127.0.0.1", "default")
    assert found["HEIST_FLAGS__JUDGE"] == ("false", f"{path}, line 4")
    assert found["HEIST_FLAGS__COMMANDS"] == ("true", "HEIST_FLAGS__COMMANDS")
    assert found["HEIST_FLAGS__DETECTION"] == ("true", "default")


@pytest.mark.parametrize("name", LAYERS)
def test_the_program_starts_with_each_layer_that_it_ships(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEIST_ENV", name)
    monkeypatch.setenv("HEIST_SECRET", "s" * 40)
    assert create_app().title == "heist"
    if name == "prod":
        monkeypatch.delenv("HEIST_SECRET")
        with pytest.raises(ConfigError, match=r"HEIST_HOST: '0\.0\.0\.0' can be reached from other machines"):
            create_app()


def test_a_folder_with_a_layer_of_the_same_name_has_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layered(monkeypatch, tmp_path, "port: 99\n", "test")
    assert (settings.read().port, settings.read().llm) == (99, "auto")
    (tmp_path / "test.yaml").unlink()
    assert (settings.read().port, settings.read().llm) == (0, "simulated")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port: many\n", ", line 1: port: input should be a valid integer"),
        ("streams: 1\nprot: 80\n", ", line 2: prot: there is no such key"),
        ("flags:\n  judje: false\n", ", line 2: flags.judje: there is no such key"),
        ("flags:\n  judge: maybe\n", ", line 2: flags.judge: input should be a valid boolean"),
        ("env: prod\n", ", line 1: env: there is no such key"),
        ("config: /etc\n", ", line 1: config: there is no such key"),
        ("secret: short\n", ", line 1: secret: expected at least 32 bytes"),
        ("llm: lmstudio\n", ", line 1: llm: expected auto, simulated, local"),
        ("port: [1\n", ", line 2: not valid YAML"),
        ("", ", line 1: expected a mapping of keys"),
    ],
)
def test_a_broken_layer_is_refused_with_file_line_and_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, sentence: str
) -> None:
    path = layered(monkeypatch, tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        settings.read()
    assert str(refused.value).startswith(f"{path}{sentence}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HEIST_ENV", "staging", "HEIST_ENV: there is no layer 'staging': expected dev, prod, test or a file "),
        ("HEIST_ENV", "../prod", "HEIST_ENV: expected dev, prod, test or the name of a file"),
        ("HEIST_FLAGS__JUDJE", "false", "HEIST_FLAGS__JUDJE: there is no such key"),
        ("HEIST_FLAGS__JUDGE", "maybe", "HEIST_FLAGS__JUDGE: input should be a valid boolean"),
        ("HEIST_FLAGS", "{", "HEIST_FLAGS: expected one variable for each flag"),
    ],
)
def test_an_unknown_layer_or_flag_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        settings.read()
    assert str(refused.value).startswith(sentence)


def test_a_server_is_shown_one_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIST_LLM", SECRETS["HEIST_LLM"])
    assert settings.read().llm == SECRETS["HEIST_LLM"]
    monkeypatch.setenv("HEIST_LLM_KEY", "key")
    with pytest.raises(ConfigError, match="a server is shown one login") as refused:
        settings.read()
    assert "hidden" not in str(refused.value)


def test_show_prints_every_setting_with_its_source_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HEIST_SECRT", "hidden-by-mistake")
    monkeypatch.setenv("COLUMNS", "200")
    shown, as_json = CliRunner().invoke(cli, ["config", "show"]), CliRunner().invoke(cli, ["config", "show", "--json"])
    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert "hidden" not in shown.output + as_json.output
    assert "HEIST_SECRT is no setting; is HEIST_SECRET meant?" in shown.output
    told = {one["variable"]: one for one in json.loads(as_json.stdout)}
    assert told["HEIST_LLM"]["value"] == "http://***@127.0.0.1:1/v1"
    assert told["HEIST_SECRET"] == {"variable": "HEIST_SECRET", "value": "********", "source": "HEIST_SECRET"}
    assert set(told) <= set(shown.output.split())


def test_a_wrong_address_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIST_LLM", SECRETS["HEIST_LLM"] + " x")
    with pytest.raises(ConfigError, match=r"found 'http://\*\*\*@127") as refused:
        settings.read()
    assert "hidden" not in str(refused.value)


def test_a_variable_that_says_nothing_is_named() -> None:
    found = strangers(
        {"HEIST_PROT": "1", "HEIST_PORT": "1", "HEIST_SERVICE_PORT_WEB": "1", "HEIST_CACHE": "x", "PATH": ""}
    )
    assert [str(one) for one in found] == [
        "HEIST_PROT is no setting; is HEIST_PORT meant?",
        "HEIST_SERVICE_PORT_WEB is no setting",
    ]


@pytest.mark.parametrize("kind", kinds())
def test_the_schemas_that_are_shipped_are_those_of_this_version(kind: str) -> None:
    """`heist config schema --write config/schemas` writes them anew."""
    path = shipped("config") / "schemas" / f"{kind}.json"
    assert path.read_text(encoding="utf-8") == written(kind, kinds()[kind])
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))
    shown = CliRunner().invoke(cli, ["config", "schema", kind])
    assert shown.stdout == path.read_text(encoding="utf-8")


def test_every_shipped_file_names_its_schema_and_has_its_shape() -> None:
    seen = set()
    for path in shipped("config").rglob("*.yaml"):
        mark, _, name = path.read_text().splitlines()[0].partition("$schema=")
        assert mark == "# yaml-language-server: ", path
        schema = json.loads((path.parent / name).read_text())
        jsonschema.validate(json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str)), schema)
        seen.add(Path(name).stem)
    assert seen == set(kinds()) - {"prices"}


def test_a_schema_refuses_what_the_program_refuses() -> None:
    crew = yaml.safe_load((shipped("config") / "crew.yaml").read_text())
    schema = json.loads(written("crew", kinds()["crew"]))
    wrongs: list[dict[str, object]] = [{"round": 3}, {"rounds": 0}, {"agents": []}, {"variants": {"a": {"share": -1}}}]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**crew, **wrong}, schema)


def test_an_unknown_kind_and_a_folder_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unknown = CliRunner().invoke(cli, ["config", "schema", "crwe"])
    assert str(unknown.exception).startswith("there is no kind of file 'crwe'; there are: crew, detection")
    unwritten = CliRunner().invoke(cli, ["config", "schema", "--write", str(tmp_path / "file" / "x")])
    assert "the schemas cannot be written: Not a directory" in str(unwritten.exception)
    assert CliRunner().invoke(cli, ["config", "schema", "--write", str(tmp_path / "new")]).exit_code == 0
    assert {path.stem for path in (tmp_path / "new").iterdir()} == set(kinds())
    assert CliRunner().invoke(cli, ["config", "schema"]).stdout.split() == list(kinds())


def test_flags_follow_their_file_and_survive_a_wrong_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = layered(monkeypatch, tmp_path, "flags: {judge: false}\n")
    monkeypatch.setenv("HEIST_FLAGS__COMMANDS", "false")
    switches = Switches(settings.read())
    assert switches.flags == Flags(judge=False, commands=False)
    path.write_text("flags: {blind_play: false, commands: true}\n")
    assert switches.flags == Flags(blind_play=False, commands=False)
    path.write_text("flags: {blind_pley: false}\n")
    assert switches.flags == Flags(blind_play=False, commands=False)
    assert switches.problem.endswith("line 1: flags.blind_pley: there is no such key")
    path.write_text("streams: 10\n")
    assert (switches.flags, switches.problem) == (Flags(commands=False), "")
    path.unlink()
    assert switches.flags == Flags(commands=False)
    assert "there is no layer 'mine'" in switches.problem


def test_what_is_off_says_so_in_one_sentence() -> None:
    switches = Switches(Settings(flags=Flags(judge=False, commands=False)))
    switches.require("detection")
    with pytest.raises(SwitchedOff, match=r"^the judge is switched off in this house, by the flag judge$"):
        switches.require("judge")
    with pytest.raises(SwitchedOff, match=r"^commands are switched off in this house, by the flag commands$"):
        switches.require("commands")


def test_the_command_line_obeys_the_flag_for_detection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEIST_DATABASE_URL", f"sqlite:///{tmp_path}/heist.db")
    monkeypatch.setenv("HEIST_FLAGS__DETECTION", "false")
    result = CliRunner().invoke(cli, ["detect", "list"])
    assert isinstance(result.exception, SwitchedOff)


def test_detection_is_read_again_when_its_file_has_changed(settings: Settings, tmp_path: Path) -> None:
    own = tmp_path / "detection.yaml"
    own.write_text((shipped("config") / "detection.yaml").read_text())
    desk = Runtime(settings.model_copy(update={"config": tmp_path})).desk
    before = desk.parts
    assert desk.parts is before
    own.write_text(own.read_text().replace("prior: 0.6", "prior: 0.5"))
    assert (before.settings.prior, desk.parts.settings.prior) == (0.6, 0.5)
    own.write_text("live: rules\n")
    assert "field required" in desk.problem()
    with pytest.raises(ConfigError):
        _ = desk.parts


def test_every_kind_is_a_section() -> None:
    assert all(issubclass(kind, Section) for kind in kinds().values())

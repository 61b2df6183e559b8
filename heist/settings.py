"""The settings: defaults, over them a layer (`HEIST_ENV`), over that the `HEIST_*` variables; read once and frozen."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, create_model, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from heist.configfile import Section, first_error, load, sentence
from heist.errors import ConfigError

PREFIX = "HEIST_"
LAYERS = ("dev", "prod", "test")
"""Those that come with the program; any other name is a file of the config folder."""
_LOGIN = re.compile(r"//.*@")
_TOLD = re.compile(r"(?i)([?&][^=&\s]*(?:password|passphrase|secret|token|key|auth|sig|code)[^=&\s]*=)[^&\s]+")


def masked(text: str) -> str:
    """The text without the names and passwords of addresses in it."""
    return _TOLD.sub(r"\1***", _LOGIN.sub("//***@", text))


def shipped(name: str) -> Path:
    """A folder that comes with the program: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    beside = package.parent / name
    return beside if beside.is_dir() else package / f"_{name}"


def _named_keys(value: str) -> str:
    if "-----BEGIN" in value:
        raise ValueError("expected the names of PEM files, and not what is in them")
    return value


def _model_source(value: str) -> str:
    if "?" in value and value.startswith("http"):
        raise ValueError("expected a base URL without a query; a key belongs in HEIST_LLM_KEY")
    if value in ("auto", "simulated") or re.fullmatch(r"local(:.+)?", value) or re.fullmatch(r"https?://[!-~]+", value):
        return value
    raise ValueError(
        "expected auto, simulated, local, local:NAME or a base URL such as http://127.0.0.1:1234/v1, "
        f"found {masked(value)!r}"
    )


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value().strip().encode()) < 32:
        raise ValueError("expected at least 32 bytes; `openssl rand -hex 32` prints a good one")
    return value


def _site(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", value):
        raise ValueError(f"expected an address without a path, such as https://heist.example, found {masked(value)!r}")
    return value and re.sub(r"^(http(?=:).*):80$|^(https.*):443$", r"\1\2", value.rstrip("/").lower())


def _layer_name(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", value):
        raise ValueError(f"expected {', '.join(LAYERS)} or the name of a file in the config folder, found {value!r}")
    return value


def _collector(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://[^\s@]+", value):
        raise ValueError(
            f"expected a base URL such as http://127.0.0.1:4318, found {value!r}"
            if "@" not in value
            else "expected a base URL without a name and a password; OTEL_EXPORTER_OTLP_HEADERS is the place for them"
        )
    return value


def _plain(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("expected a key without blanks, in plain characters")
    return value


class Flags(Section):
    """Features that can be switched off for a whole house; what is off refuses in one sentence."""

    live_control: bool = Field(True, description="pausing, stepping, stopping and quarantine in sessions that run")
    commands: bool = Field(True, description="orders to one agent")
    detection: bool = Field(True, description="every detector, beside sessions and when it is asked")
    judge: bool = Field(True, description="a model as judge")
    blind_play: bool = Field(True, description="games without the detector, and noting whom one suspects")


class Settings(BaseSettings):
    """Every setting with its default; the field's description is the row of `docs/settings.md`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    env: Annotated[str | None, AfterValidator(_layer_name)] = Field(
        None, description="the layer: `dev`, `prod`, `test`, or another file of the config folder; unset: none"
    )
    llm: Annotated[str, AfterValidator(_model_source)] = Field(
        "auto",
        description="who speaks: `auto` (a local server if one is found), `simulated`, a base URL, or `local`, "
        "`local:NAME`, `local:FILE.gguf` for a model that heist runs itself",
    )
    model: str | None = Field(None, description="the model's name; unset: the one that the server has loaded")
    llm_key: Annotated[SecretStr | None, AfterValidator(_plain)] = Field(
        None, description="the model server's API key, if it wants one"
    )
    llm_tools: Literal["auto", "native", "schema", "text"] = Field(
        "auto",
        description="how tools are offered: native calls, a field of a JSON answer, text, or the best of them that "
        "the server is not known to lack",
    )
    llm_slots: int | None = Field(
        None, ge=1, le=10_000, description="how many calls a server is given at once; unset: what it tells"
    )
    llm_first_seconds: float = Field(120.0, gt=0, description="patience for a model's first byte, in seconds")
    llm_chunk_seconds: float = Field(60.0, gt=0, description="patience between two chunks of an answer, in seconds")
    llm_answer_seconds: float = Field(600.0, gt=0, description="patience for a whole answer, in seconds")
    database_url: str = Field(
        "sqlite:///heist.db",
        description="where the audit is kept: `sqlite:///FILE`, or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`",
    )
    config: Path = Field(
        default_factory=lambda: shipped("config"),
        description="the folder of crew and scenario files",
        validate_default=True,
    )
    secret: Annotated[SecretStr | None, AfterValidator(_long_enough)] = Field(
        None, description="at least 32 bytes that all keys derive from; unset: new ones at each start"
    )
    secret_before: Annotated[SecretStr | None, AfterValidator(_long_enough)] = Field(
        None, description="the secret before it: its tokens and logins stay good until they end"
    )
    signing_keys: Annotated[str, AfterValidator(_named_keys)] = Field(
        "",
        description="PEM files, separated by commas, of RSA or Ed25519 private keys: the first signs the tokens "
        "(RS256, EdDSA), each verifies; unset: HS256 with keys from the secret",
    )
    url: Annotated[str | None, AfterValidator(_site)] = Field(
        None, description="the address that others see, such as https://heist.example; unset: what each request names"
    )
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8008, ge=0, le=65535, description="the port to listen on; 0 takes a free one")
    allow_remote: bool = Field(False, description="permits an address other than loopback; needs HEIST_SECRET too")
    hosts: str = Field("", description="more names, separated by commas, under which browsers may reach the server")
    streams: int = Field(1000, ge=1, description="how many event streams may be open at once")
    log: Literal["text", "json"] = Field(
        "text", description="the program's own log, on standard error: `text` or `json`"
    )
    otlp: Annotated[str | None, AfterValidator(_collector)] = Field(
        None,
        description="where spans go by OTLP over HTTP, such as http://127.0.0.1:4318; unset: where "
        "OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere; needs the extra `otel`",
    )
    trace_text: Literal["none", "speech", "prompts"] = Field(
        "none",
        description="which words stand in spans: `none`; `speech`, what is public anyway; `prompts`, all that a model "
        "reads and writes, with every agent's private brief: who reads such traces knows the mole before the reveal",
    )
    metrics: Literal["login", "open"] = Field(
        "login",
        description="who may read /metrics: `login`, or a token with metrics:read; `open`, whoever reaches the address",
    )

    flags: Flags = Field(default_factory=Flags, description="the features that are switched on")

    @property
    def key_files(self) -> list[Path]:
        return [Path(name.strip()) for name in self.signing_keys.split(",") if name.strip()]

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.llm_key is not None and re.match(r"https?://[^/@]*@", self.llm):
            raise ValueError(
                "a server is shown one login: HEIST_LLM has a name and password in it, and HEIST_LLM_KEY is set too"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        told = {**env_settings(), **init_settings()}
        layer = _layered(told.get("env"), told.get("config"))
        return init_settings, env_settings, InitSettingsSource(settings_cls, layer)


@cache
def layer() -> type[Section]:
    """What a layer's file may hold: every setting but those by which it is found."""
    fields = {name: field for name, field in Settings.model_fields.items() if name not in ("env", "config")}
    given: dict[str, Any] = {name: (field.annotation, field) for name, field in fields.items()}
    return create_model("Layer", __base__=Section, __doc__="A layer of settings.", **given)


def layer_file(env: str | None, config: Path) -> Path | None:
    """The file of a layer: the config folder's own, else the one that comes with the program. Raises `ConfigError`."""
    if env is None:
        return None
    own, ours = config / f"{env}.yaml", shipped("config") / f"{env}.yaml"
    for path in (own, ours):
        if path.is_file():
            return path
    raise ConfigError(f"HEIST_ENV: there is no layer {env!r}: expected {', '.join(LAYERS)} or a file {own}")


def _layered(env: object, config: object) -> dict[str, Any]:
    """What the layer says, and nothing that it leaves out."""
    if not isinstance(env, str) or _is_wrong(env):
        return {}
    path = layer_file(env, Path(str(config)) if config else shipped("config"))
    assert path is not None
    return load(path, layer()).model_dump(exclude_unset=True)


def _is_wrong(env: str) -> bool:
    """Whether it will be refused by its own name, when the settings are put together."""
    try:
        _layer_name(env)
    except ValueError:
        return True
    return False


def variable(*place: str) -> str:
    """The name of the variable for a setting, or for a flag."""
    return PREFIX + "__".join(place).upper()


def read() -> Settings:
    """The settings as they are now; raises `ConfigError` that names the variable, or the layer's file, line and key,
    and what was expected."""
    try:
        return Settings()
    except SettingsError:
        raise ConfigError(
            "HEIST_FLAGS: expected one variable for each flag, such as HEIST_FLAGS__JUDGE=false, or JSON of all"
        ) from None
    except ValidationError as error:
        first = first_error(error)
        place = [str(step) for step in first["loc"]]
        raise ConfigError(sentence([variable(*place)] if place else [], first["msg"])) from None

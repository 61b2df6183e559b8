"""The `HEIST_*` variables, read once and frozen."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from heist.configfile import first_error, sentence
from heist.errors import ConfigError


def shipped(name: str) -> Path:
    """A folder that comes with the program: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    beside = package.parent / name
    return beside if beside.is_dir() else package / f"_{name}"


def _model_source(value: str) -> str:
    if value in ("auto", "simulated") or re.fullmatch(r"local(:.+)?", value) or re.fullmatch(r"https?://[!-~]+", value):
        return value
    raise ValueError(
        f"expected auto, simulated, local, local:NAME or a base URL such as http://127.0.0.1:1234/v1, found {value!r}"
    )


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value().strip().encode()) < 32:
        raise ValueError("expected at least 32 bytes; `openssl rand -hex 32` prints a good one")
    return value


def _site(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", value):
        raise ValueError(f"expected an address without a path, such as https://heist.example, found {value!r}")
    return value and re.sub(r"^(http(?=:).*):80$|^(https.*):443$", r"\1\2", value.rstrip("/").lower())


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


class Settings(BaseSettings):
    """Every setting with its default; the field's description is the row of `docs/settings.md`."""

    model_config = SettingsConfigDict(env_prefix="HEIST_", frozen=True, extra="ignore", env_ignore_empty=True)

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
    signing_keys: str = Field(
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

    @property
    def key_files(self) -> list[Path]:
        return [Path(name.strip()) for name in self.signing_keys.split(",") if name.strip()]


def read() -> Settings:
    """The settings from the environment; raises `ConfigError` that names the variable and what was expected."""
    try:
        return Settings()
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError("HEIST_" + sentence([str(first["loc"][0]).upper()], first["msg"])) from None

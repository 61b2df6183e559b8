"""Where the spans go: the address, and whether anything could be sent there."""

import os
from collections.abc import Mapping
from importlib.util import find_spec

from heist.errors import ConfigError

_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_ALL = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def destination(otlp: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The address for OTLP over HTTP by HEIST_OTLP, else by OpenTelemetry's own variables; None for nowhere. Raises
    `ConfigError` when nothing could be sent."""
    base = otlp or environment.get(_ALL)
    wanted = base and f"{base.rstrip('/')}/v1/traces"
    if otlp is None:
        wanted = environment.get(_TRACES) or wanted
        if (
            environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
            or environment.get("OTEL_TRACES_EXPORTER") == "none"
        ):
            return None
    if not wanted:
        return None
    for name in _PROTOCOLS:
        if otlp is None and environment.get(name, "") not in ("", "http/protobuf"):
            raise ConfigError(f"{name}: expected http/protobuf, found {environment[name]!r}")
    if not _installed():
        raise ConfigError("HEIST_OTLP: spans need OpenTelemetry; install heist[otel], or name no address")
    return wanted


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.sdk.trace") is not None and find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False

"""The lines of the program's log: readable, or JSON; each says in which session and turn it was written."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from heist.clock import stamp
from heist.telemetry.here import here

Style = Literal["text", "json"]


class StandardError(logging.Handler):
    """Writes to what standard error is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:  # as every handler has it: a log that cannot be written is no reason to end
            self.handleError(record)


def install(style: Style) -> None:
    """From now on the process logs in this style. For whoever owns the process: the command line, and a server that
    was started by hand."""
    handler = StandardError()
    handler.setFormatter(JsonLines() if style == "json" else Readable())
    root = logging.getLogger()
    for before in [one for one in root.handlers if isinstance(one, StandardError)]:
        root.removeHandler(before)
    root.addHandler(handler)
    # A collector that is gone is told of once, by ourselves; its client would tell of each try.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class Readable(logging.Formatter):
    """`2026-01-01T12:00:00.000000Z WARNING heist.bus [heist_…, turn 3] sentence`, then the traceback, if any."""

    def format(self, record: logging.LogRecord) -> str:
        place = here()
        words = [place.session_id or "", f"turn {place.turn}" if place.turn else ""]
        told = ", ".join(word for word in words if word)
        line = f"{_at(record)} {record.levelname} {record.name} {f'[{told}] ' if told else ''}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One object a line: `at`, `level`, `logger`, `message`; `session` and `turn` where the record concerns one;
    `trace_id` and `span_id` where it is traced; `error`, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        place = here()
        told: dict[str, str | int] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if place.session_id is not None:
            told["session"] = place.session_id
        if place.turn is not None:
            told["turn"] = place.turn
        if ids := place.span.ids:
            told["trace_id"], told["span_id"] = ids
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def _at(record: logging.LogRecord) -> str:
    return stamp(datetime.fromtimestamp(record.created, UTC))

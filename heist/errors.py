"""What can go wrong, as one tree.

    HeistError                500
    ├── ConfigError           422  a file or a setting is not what it must be
    ├── NotFound              404  what was named does not exist
    ├── Conflict              409  it exists, and is not in a state for this
    ├── Invalid               422  an order that makes no sense
    ├── SwitchedOff           403  a feature that this house has switched off, for everybody
    ├── TooMany               429  try again later: `retry_after` seconds
    ├── Unavailable           503  the house is full, or a part of it is closed
    ├── GrantError            400  the token endpoint refuses (RFC 6749, section 5.2)
    ├── InvalidToken          401  no token, or one that is not good (RFC 6750, section 3.1)
    ├── InsufficientScope     403  a good token that does not open this
    ├── ToolError             422  the caller's arguments are at fault
    │   └── ToolFailure       503  the tool itself is at fault
    ├── ModelError            502  the model server refused, or said something unusable
    │   ├── ModelUnreachable  503  nobody answers at its address
    │   │   └── ModelDown     503  it has failed so often that it is not asked for a while
    │   ├── ModelBusy         503  it says that it cannot just now: `retry_after` seconds
    │   ├── ModelTimeout      504  it took too long
    │   ├── ModelBroke        502  it failed in the middle of its answer, or by a fault of its own
    │   ├── ModelOverflow     502  the prompt is longer than its context
    │   └── CassetteMiss      502  a recording holds no answer to this prompt
    └── StoreError            503  the audit could not be written

Each message is one sentence that a user can act on. What the model can mend goes back to the model; the rest goes up
to an edge (an HTTP route, the command line, the end of a turn), where `HeistError` is caught and nothing wider.
"""

from typing import ClassVar


class HeistError(Exception):
    """The root: `status` is the HTTP status at the edge, `code` the machine's word for it. `client` is the id of the
    client that is refused, as far as it is known, `tool` what it wanted, and `recorded` says that the audit has it
    already."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    client: str = ""
    tool: str = ""
    recorded: bool = False


class ConfigError(HeistError):
    status = 422
    code = "invalid_config"


class NotFound(HeistError):
    status = 404
    code = "not_found"


class Conflict(HeistError):
    status = 409
    code = "conflict"


class Invalid(HeistError):
    status = 422
    code = "invalid"


class SwitchedOff(HeistError):
    status = 403
    code = "switched_off"


class TooMany(HeistError):
    status = 429
    code = "too_many"

    def __init__(self, message: str, retry_after: int, client: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.client = client


class Unavailable(HeistError):
    status = 503
    code = "unavailable"
    retry_after = 5


class GrantError(HeistError):
    """`error` is one of the codes of RFC 6749, section 5.2, or of RFC 8707; `invalid_client` answers 401. `scope` is
    what was asked for."""

    status = 400

    def __init__(self, error: str, description: str, client: str = "", scope: str = "") -> None:
        super().__init__(description)
        self.error = error
        self.client = client
        self.scope = scope


class InvalidToken(HeistError):
    """`client` is known when the token is truly ours and only expired or withdrawn. `missing` says that no token was
    sent at all."""

    status = 401
    code = "invalid_token"

    def __init__(self, message: str, client: str = "", missing: bool = False) -> None:
        super().__init__(message)
        self.client = client
        self.missing = missing


class InsufficientScope(HeistError):
    status = 403
    code = "insufficient_scope"

    def __init__(self, message: str, scope: str, client: str = "") -> None:
        super().__init__(message)
        self.scope = scope
        self.client = client


class ToolError(HeistError):
    status = 422
    code = "invalid_arguments"


class ToolFailure(ToolError):
    status = 503
    code = "tool_failed"


class ModelError(HeistError):
    status = 502
    code = "model_error"


class ModelUnreachable(ModelError):
    status = 503
    code = "model_unreachable"


class ModelDown(ModelUnreachable):
    code = "model_down"


class ModelBusy(ModelError):
    status = 503
    code = "model_busy"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelBroke(ModelError):
    code = "model_broke"


class ModelOverflow(ModelError):
    code = "model_overflow"


class CassetteMiss(ModelError):
    code = "cassette_miss"


class ModelTimeout(ModelError):
    status = 504
    code = "model_timeout"


class StoreError(HeistError):
    status = 503
    code = "store_unavailable"

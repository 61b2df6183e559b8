"""The refusals as OpenAPI shows them."""

from typing import Any

from pydantic import BaseModel


class Refusal(BaseModel):
    """Why nothing came of a request: a code for programs, one sentence for people."""

    error: str
    detail: str


class OAuthRefusal(BaseModel):
    """The same where OAuth says how it must look (RFC 6749, section 5.2)."""

    error: str
    error_description: str


_MEANING = {
    400: "the request makes no sense",
    401: "no token, or one that is not good",
    403: "the token does not open this, or the request is from another site",
    404: "what was named does not exist",
    409: "it exists, and is not in a state for this",
    411: "the request must say how long its body is",
    413: "the body is too large",
    421: "this server does not answer to that name",
    422: "the request is understood, and wrong",
    429: "try again later",
    502: "the model server said something unusable",
    503: "a part of the house is missing, or full",
    504: "the model server took too long",
}
GUARDED = (403, 411, 413, 421)
"""What the guard in front of everything may say."""


def refusals(*statuses: int, model: type[BaseModel] = Refusal) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these refusals, and those of the guard."""
    wanted = dict.fromkeys(GUARDED, Refusal) | dict.fromkeys(statuses, model)
    return {status: {"model": shape, "description": _MEANING[status]} for status, shape in sorted(wanted.items())}

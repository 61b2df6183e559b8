"""Every refusal as one sentence in JSON: `{"error": code, "detail": sentence}`, with the status of its kind."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from heist.configfile import sentence
from heist.errors import GrantError, HeistError, InsufficientScope, InvalidToken, TooMany, Unavailable
from heist.services.auth import challenge
from heist.services.oauth import NO_STORE


def install(app: FastAPI) -> None:
    app.add_exception_handler(HeistError, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(HTTPException, _no_route)


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HeistError)
    match error:
        case GrantError(error=code):
            known = code != "invalid_client"
            headers = {} if known else {"WWW-Authenticate": 'Basic realm="heist"'}
            content = {"error": code, "error_description": str(error)}
            return JSONResponse(content, 400 if known else 401, {**NO_STORE, **headers})
        case InvalidToken() | InsufficientScope():
            return _answer(error, {"WWW-Authenticate": challenge(error)})
        case TooMany(retry_after=seconds) | Unavailable(retry_after=seconds):
            return _answer(error, {"Retry-After": str(seconds)})
    return _answer(error, {})


def _answer(error: HeistError, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"error": error.code, "detail": str(error)}, error.status, {**NO_STORE, **headers})


def _misunderstood(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [step for step in first["loc"] if step not in ("body", "query", "path")]
    match first["type"]:
        case "json_invalid":
            detail = f"the body is not valid JSON at character {place[0]}"
        case "model_attributes_type" | "dict_type":
            detail = "the body must be a JSON object, sent with Content-Type: application/json"
        case _:
            detail = sentence(place, first["msg"])
    return JSONResponse({"error": "invalid", "detail": detail}, 422, NO_STORE)


def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path[:200]!r}"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not allowed here"
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return JSONResponse({"error": code, "detail": detail}, error.status_code, {**NO_STORE, **(error.headers or {})})

"""Calls from outside of a turn: let in by their token, and on record before they are answered."""

import asyncio

import pytest
from pydantic import Field

from heist import events as e
from heist.agents.sessions import Order
from heist.errors import InvalidToken, StoreError
from heist.runtime import Runtime
from heist.services.auth import Principal, Resource, Scope
from heist.services.clients import hashed, new_credentials
from heist.services.tools.outside import Form, Outside
from heist.services.tools.registry import Arguments, Caller, Result, Tool
from heist.store.clients import Registrations
from tests.conftest import USER

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S1")]
PLACE = Resource("http://127.0.0.1:8008")


@pytest.fixture(params=["http", "mcp"])
def outside(runtime: Runtime, request: pytest.FixtureRequest) -> Outside:
    form: Form = request.param
    return Outside(runtime.registry, runtime.auth, runtime.clients, runtime.bus, form)


async def outsider(runtime: Runtime, *scopes: str) -> str:
    """A token of a client in the database that is good at PLACE."""
    client_id, secret = new_credentials("laptop")
    at = "2026-01-01T00:00:00.000000Z"
    Registrations(runtime.engine).add(client_id, "laptop", hashed(secret).hex(), " ".join(scopes), at)
    return (await runtime.server.grant(client_id, secret, None, (PLACE,))).access_token


async def agent(runtime: Runtime, *scopes: str) -> tuple[str, str, str]:
    """(session, client id, token) of an agent in a session that is paused."""
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    client_id, secret = runtime.clients.register("mole", frozenset(scopes), session_id)
    return session_id, client_id, (await runtime.server.grant(client_id, secret, None, (PLACE,))).access_token


def calls(runtime: Runtime) -> list[e.ToolCalled]:
    logged = [e.parse(entry.body) for entry in runtime.queries.log(0, None, 10_000)]
    return [event for event in logged if isinstance(event, e.ToolCalled)]


async def test_a_call_of_an_outsider_is_on_record_without_a_session(
    runtime: Runtime, outside: Outside, request: pytest.FixtureRequest
) -> None:
    token = await outsider(runtime, Scope.CALCULATOR)
    principal = await outside.admit(token, PLACE, "calculator", {"expression": "6 * 7"})
    assert (principal.name, principal.session_id) == ("laptop", None)
    outcome = await outside.call(principal, "calculator", {"expression": "6 * 7"})
    [called] = calls(runtime)
    assert (called.session_id, called.turn, called.agent, called.result) == (None, None, "laptop", outcome.text)
    assert called.form == request.node.callspec.params["outside"]


async def test_a_token_of_an_agent_that_is_known_and_dead_is_on_its_sessions_record(
    runtime: Runtime, outside: Outside
) -> None:
    session_id, client_id, token = await agent(runtime, Scope.CALCULATOR)
    runtime.clients.suspend(client_id)
    with pytest.raises(InvalidToken, match="mole is in quarantine: its tokens are no longer good") as refused:
        await outside.admit(token, PLACE, "calculator", {"expression": "1"})
    [called] = calls(runtime)
    assert (called.session_id, called.agent, called.tool, called.fault) == (session_id, "mole", "calculator", "token")
    assert (called.arguments, called.result) == ({"expression": "1"}, str(refused.value))
    assert refused.value.recorded


async def test_a_token_of_nobody_is_on_no_record_here(runtime: Runtime, outside: Outside) -> None:
    with pytest.raises(InvalidToken) as refused:
        await outside.admit("rubbish", PLACE, "calculator", {})
    assert calls(runtime) == []
    assert not refused.value.recorded


async def test_a_failure_is_marked_so_that_nobody_records_it_twice(runtime: Runtime, outside: Outside) -> None:
    outcome = await outside.call(Principal("laptop", frozenset()), "calculator", {"expression": "1"})
    assert outcome.error is not None
    assert outcome.error.recorded
    assert [called.fault for called in calls(runtime)] == ["scope"]


async def test_a_call_that_cannot_be_put_on_record_is_not_answered(runtime: Runtime, outside: Outside) -> None:
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE tool_usage RENAME TO gone")
    with pytest.raises(StoreError, match="the audit could not be written"):
        await outside.call(Principal("laptop", frozenset({Scope.CALCULATOR})), "calculator", {"expression": "1"})
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO tool_usage")
    await outside.call(Principal("laptop", frozenset({Scope.CALCULATOR})), "calculator", {"expression": "1"})
    assert len(calls(runtime)) == 1


async def test_a_tools_name_of_any_length_fits_into_the_record(runtime: Runtime, outside: Outside) -> None:
    await outside.call(Principal("laptop", frozenset()), "x" * 10_000, {})
    assert [(called.tool, called.fault) for called in calls(runtime)] == [("x" * 64, "unknown")]


class Slow(Arguments):
    word: str = Field("", description="a word")


class Word(Result):
    word: str


def slow(runtime: Runtime, begun: asyncio.Event, go_on: asyncio.Event) -> Runtime:
    """The house with a tool that says that it has begun and waits to be let go on."""

    async def run(arguments: Slow, _: Caller) -> Word:
        begun.set()
        await go_on.wait()
        return Word(word=arguments.word)

    tool = Tool("slow", "Takes its time.", Scope.CALCULATOR, Slow, Word, run)
    runtime.registry.tools = {**runtime.registry.tools, "slow": tool}
    return runtime


async def test_a_call_that_nobody_waits_for_any_more_is_on_record(runtime: Runtime, outside: Outside) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    slow(runtime, begun, go_on)
    principal = await outside.admit(await outsider(runtime, Scope.CALCULATOR), PLACE, "slow", {})
    call = asyncio.create_task(outside.call(principal, "slow", {"word": "x"}))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    runtime.bus.flush()
    await asyncio.sleep(0.1)
    [called] = calls(runtime)
    assert (called.tool, called.success, called.fault, called.arguments) == ("slow", False, "cancelled", {"word": "x"})


async def test_what_ran_while_its_agent_was_put_in_quarantine_is_withheld(runtime: Runtime, outside: Outside) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    slow(runtime, begun, go_on)
    session_id, client_id, token = await agent(runtime, Scope.CALCULATOR)
    principal = await outside.admit(token, PLACE, "slow", {})
    call = asyncio.create_task(outside.call(principal, "slow", {"word": "the secret"}))
    await begun.wait()
    runtime.clients.suspend(client_id)
    go_on.set()
    outcome = await call
    assert (outcome.fault, outcome.result) == ("token", None)
    assert "the secret" not in outcome.text
    [called] = calls(runtime)
    assert (called.session_id, called.fault, called.success) == (session_id, "token", False)

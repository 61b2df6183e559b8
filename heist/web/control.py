"""The API of the pages: start and steer sessions, read them, follow them live. The routes only translate."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path as File
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response, WebSocket
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from heist import __version__
from heist.agents import crew as crews
from heist.agents.forks import Moment
from heist.agents.games import Games
from heist.agents.hindsight import Seen
from heist.agents.sessions import LONGEST_COMMAND, LONGEST_REASON, Begun, Order, Sessions
from heist.errors import HeistError, InsufficientScope, InvalidToken
from heist.llm.source import Source
from heist.services import documented
from heist.services.auth import DOCUMENTED, Principal, Scope
from heist.settings import Flags, Settings
from heist.store.queries import Queries, SessionRow, Tally
from heist.switches import Switches
from heist.web.guard import Gate
from heist.web.live import Frame, Live, is_blind_to
from heist.web.refusals import Refusals

PING_SECONDS = 15
LAST = 2**63 - 1
MOST = 2000
"""Events on one page of a log."""
SEND_SECONDS = 30
LOOK_SECONDS = 2.0
"""How often a stream looks whether its token, or its login, is still good."""
Ask = Callable[[], Awaitable[Principal]]


class Lack(BaseModel):
    part: str
    why: str


class Started(BaseModel):
    """`missing` is what the session has to do without, or with less of."""

    session_id: str
    missing: list[Lack] = []


class Listed(BaseModel):
    """`seq` is the log's row number at this moment: follow the list of sessions from there. `results` are of those
    sessions the games of which are over."""

    sessions: list[SessionRow]
    results: dict[str, "Ended"]
    seq: int


class Ended(BaseModel):
    """What came of a game that is over."""

    arm: str
    strategy: str | None
    guess: str | None
    result: str
    outcome: str
    score: float
    reference: float


class Page(BaseModel):
    """A stretch of a session's log; `next` is where the next one begins, None at the end of what there is."""

    events: list[dict[str, Any]]
    next: int | None


class Command(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str
    text: str = Field(description=f"1 to {LONGEST_COMMAND} characters")


class Quarantine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", description=f"up to {LONGEST_REASON} characters, which the agent gets to read")


class Suspicions(BaseModel):
    """Any numbers from 0; they are made to sum to 1."""

    model_config = ConfigDict(extra="forbid")
    agents: dict[str, float] = Field(max_length=50, description="how much each agent is suspected; the others not")
    nobody: float = Field(0, description="how much that there is no mole")


class Guess(BaseModel):
    model_config = ConfigDict(extra="forbid")
    agent: str | None = Field(description="who it is; null says that nobody is a mole")


class Way(BaseModel):
    name: str
    title: str


class Queued(BaseModel):
    command: int


class CrewCard(BaseModel):
    """A crew file; `problem` says what is wrong with it, and then the rest is not known."""

    file: str
    name: str
    agents: int
    rounds: int
    problem: str


class House(BaseModel):
    """What a new session would begin with. `problem` is why none could begin, `notice` what a user should know."""

    version: str
    crews: list[CrewCard]
    model: str
    server: str
    simulated: bool
    notice: str
    problem: str


def _begun(begun: Begun) -> Started:
    return Started(session_id=begun.session_id, missing=[Lack(part=one.part, why=one.why) for one in begun.missing])


def router(
    sessions: Sessions,
    games: Games,
    live: Live,
    queries: Queries,
    source: Source,
    settings: Settings,
    switches: Switches,
    gate: Gate,
    refusals: Refusals,
    scopes: frozenset[str],
) -> APIRouter:
    """`scopes` are those that members of a crew may have."""
    routes = APIRouter(
        prefix="/api",
        tags=["sessions"],
        dependencies=[Depends(DOCUMENTED)],
        responses=documented.refusals(401, 422, 503),
    )
    judged = documented.refusals(404, 409)
    steered = documented.refusals(404, 409, 502, 504)  # to steer a session may bring it back, with its model

    async def user(connection: HTTPConnection) -> Principal:
        return await gate.user(connection)

    User = Annotated[Principal, Depends(user)]  # noqa: N806 - a type

    @routes.get("/house", summary="Which crews there are, and who would speak")
    async def house(principal: User) -> House:
        principal.require(Scope.SESSION_READ)
        known: dict[str, Any] = {
            "version": __version__,
            "crews": await asyncio.to_thread(_crews, settings.config, scopes),
        }
        try:
            model = await source.model()
        except HeistError as error:
            return House(**known, model="", server="", simulated=False, notice="", problem=str(error))
        said = {"model": model.name, "server": model.server, "simulated": model.simulated}
        return House(**known, **said, notice=source.notice, problem="")

    @routes.get("/flags", summary="Which features are switched on")
    async def flags(principal: User) -> Flags:
        principal.require(Scope.SESSION_READ)
        return switches.flags

    @routes.post("/sessions", status_code=201, summary="Start a session", responses=documented.refusals(404, 502, 504))
    async def start(principal: User, order: Order | None = None) -> Started:
        return _begun(await sessions.begin(principal, order or Order()))

    @routes.get("/sessions", summary="The sessions, newest first", responses=documented.refusals(404))
    async def newest(
        principal: User, limit: Annotated[int, Query(ge=1, le=500)] = 50, before: str | None = None
    ) -> Listed:
        seq = await asyncio.to_thread(queries.last_seq)
        rows = await sessions.newest(principal, limit, before)
        ended = await asyncio.to_thread(queries.ended, [row.session_id for row in rows])
        results = {row.session_id: Ended(**row._asdict()) for row in ended}
        return Listed(sessions=rows, results=results, seq=seq)

    @routes.get("/sessions/{session_id}", summary="One session", responses=documented.refusals(404))
    async def one(principal: User, session_id: str) -> SessionRow:
        return await sessions.one(principal, session_id)

    @routes.get(
        "/sessions/{session_id}/log",
        summary="Its log, page by page, as the stream tells it",
        response_model=Page,
        responses=documented.refusals(404),
    )
    async def log(
        principal: User,
        session_id: str,
        after: Annotated[int, Query(ge=0, le=LAST)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
        blind: bool = False,
    ) -> Response:
        await sessions.one(principal, session_id)
        if blind:
            switches.require("blind_play")
        page = await asyncio.to_thread(queries.log, after, session_id, limit)
        events = ",".join(row.json for row in page if not (blind and is_blind_to(row.kind)))
        more = page[-1].seq if len(page) == limit else "null"
        return Response(f'{{"events":[{events}],"next":{more}}}', media_type="application/json")

    @routes.post("/sessions/{session_id}/pause", status_code=204, summary="Begin no new turn", responses=steered)
    async def pause(principal: User, session_id: str) -> None:
        await sessions.pause(principal, session_id)

    @routes.post("/sessions/{session_id}/resume", status_code=204, summary="Go on", responses=steered)
    async def resume(principal: User, session_id: str) -> None:
        await sessions.resume(principal, session_id)

    @routes.post(
        "/sessions/{session_id}/step", status_code=204, summary="Take one turn of a paused session", responses=steered
    )
    async def step(principal: User, session_id: str) -> None:
        await sessions.step(principal, session_id)

    @routes.post(
        "/sessions/{session_id}/stop", status_code=204, summary="End after the turn in hand, or now", responses=steered
    )
    async def stop(principal: User, session_id: str, now: bool = False) -> None:
        await sessions.stop(principal, session_id, now)

    @routes.post(
        "/sessions/{session_id}/fork",
        status_code=201,
        summary="Start a session that goes on from a moment of this one",
        responses=steered,
    )
    async def fork(principal: User, session_id: str, moment: Moment | None = None) -> Started:
        return _begun(await sessions.go_on(principal, session_id, moment or Moment()))

    @routes.post(
        "/sessions/{session_id}/commands", status_code=202, summary="Order an agent in its next turn", responses=steered
    )
    async def command(principal: User, session_id: str, command: Command) -> Queued:
        return Queued(command=await sessions.command(principal, session_id, command.agent, command.text))

    @routes.get(
        "/sessions/{session_id}/turns/{turn}/prompt",
        summary="What the agent of this turn saw",
        responses=documented.refusals(404, 409),
    )
    async def prompt(principal: User, session_id: str, turn: Annotated[int, Path(ge=1, le=LAST)]) -> Seen:
        return await sessions.seen(principal, session_id, turn)

    @routes.put(
        "/sessions/{session_id}/quarantine/{agent}",
        status_code=204,
        summary="No token of this agent is good any more",
        responses=steered,
    )
    async def quarantine(principal: User, session_id: str, agent: str, why: Quarantine | None = None) -> None:
        await sessions.quarantine(principal, session_id, agent, why.reason if why else "")

    @routes.delete(
        "/sessions/{session_id}/quarantine/{agent}",
        status_code=204,
        summary="It may ask for new ones",
        responses=steered,
    )
    async def release(principal: User, session_id: str, agent: str) -> None:
        await sessions.release(principal, session_id, agent)

    @routes.post("/sessions/{session_id}/suspicions", status_code=204, summary="Say whom you suspect", responses=judged)
    async def suspect(principal: User, session_id: str, suspicions: Suspicions) -> None:
        await games.suspect(principal, session_id, suspicions.agents, suspicions.nobody)

    @routes.post("/sessions/{session_id}/guess", status_code=204, summary="Say who it is, once", responses=judged)
    async def guess(principal: User, session_id: str, guess: Guess) -> None:
        await games.guess(principal, session_id, guess.agent)

    @routes.post(
        "/sessions/{session_id}/reveal",
        status_code=204,
        summary="End the game of a session that is over",
        responses=judged,
    )
    async def reveal(principal: User, session_id: str) -> None:
        await games.reveal(principal, session_id)

    @routes.get("/games", summary="What came of the games that are over, by arm and strategy")
    async def tally(principal: User) -> list[Tally]:
        return await games.tally(principal)

    @routes.get("/strategies", summary="How a mole may work")
    async def strategies(principal: User) -> list[Way]:
        rules = await games.rules(principal)
        return [Way(name=name, title=strategy.title) for name, strategy in sorted(rules.strategies.items())]

    @routes.get(
        "/events",
        summary="Server-sent events: a session's log as it grows, or the list of sessions",
        responses=documented.refusals(404),
    )
    async def events(
        principal: User,
        request: Request,
        session: str | None = None,
        after: Annotated[int, Query(ge=0, le=LAST)] = 0,
        blind: Annotated[bool, Query(description="leave out what the detector says")] = False,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> EventSourceResponse:
        await _may_follow(principal, session, blind)
        resume = int(last_event_id or 0) if re.fullmatch(r"[0-9]{1,18}", last_event_id or "") else after
        return EventSourceResponse(
            _sse(live.follow(session, resume, blind), lambda: gate.user(request)),
            ping=PING_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(event="ping", data=""),
            send_timeout=SEND_SECONDS,
        )

    @routes.websocket("/ws")
    async def ws(
        socket: WebSocket,
        session: str | None = None,
        after: Annotated[int, Query(ge=0, le=LAST)] = 0,
        blind: bool = False,
    ) -> None:
        """The same events as JSON texts, for programs."""
        try:
            await _may_follow(await gate.user(socket), session, blind)
        except HeistError as error:
            await refusals.tell(socket, error, error.status)
            await socket.close(1008, str(error)[:120])
            return
        await socket.accept()
        both = [
            asyncio.create_task(_send(socket, live.follow(session, after, blind))),
            asyncio.create_task(_until_gone(socket)),
            asyncio.create_task(_until_refused(lambda: gate.user(socket))),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _may_follow(principal: Principal, session: str | None, blind: bool) -> None:
        principal.require(Scope.SESSION_READ)
        if blind:
            switches.require("blind_play")
        if session is not None:
            await sessions.one(principal, session)
        live.check_room()

    return routes


async def _until_gone(socket: WebSocket) -> None:
    """Returns when the other side is gone; whatever it says meanwhile is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _crews(folder: File, scopes: frozenset[str]) -> list[CrewCard]:
    cards = []
    for file in crews.crews(folder):
        try:
            crew = crews.read(folder, file, scopes)
        except HeistError as error:
            cards.append(CrewCard(file=file, name=file, agents=0, rounds=0, problem=str(error)))
        else:
            cards.append(CrewCard(file=file, name=crew.name, agents=len(crew.agents), rounds=crew.rounds, problem=""))
    return cards


async def _until_refused(ask: Ask) -> None:
    """Returns when whoever listens has lost the right to."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            (await ask()).require(Scope.SESSION_READ)
        except (InvalidToken, InsufficientScope):
            return
        except HeistError:
            continue  # nobody can know just now


async def _sse(following: AsyncGenerator[Frame], ask: Ask) -> AsyncGenerator[bytes]:
    yield b"retry: 1000\n\n"
    streaming = asyncio.current_task()
    assert streaming is not None
    refused = asyncio.create_task(_until_refused(ask))
    refused.add_done_callback(lambda done: done.cancelled() or streaming.cancel())
    try:
        async with aclosing(following) as frames:
            async for frame in frames:
                yield frame.sse()
    except asyncio.CancelledError:
        if not refused.done():
            raise
        streaming.uncancel()
    finally:
        refused.cancel()


async def _send(socket: WebSocket, following: AsyncGenerator[Frame]) -> None:
    async with aclosing(following) as frames:
        async for frame in frames:
            await socket.send_text(frame.json)

"""Analytics over HTTP, as JSON or CSV; the routes only translate."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.requests import HTTPConnection
from pydantic import BaseModel

from heist.clock import stamp
from heist.errors import Invalid
from heist.services.analytics.analytics import MOST_COMPARED, Analytics
from heist.services.analytics.answers import (
    AgentActivity,
    Comparison,
    Interactions,
    MetricsSummary,
    SessionDetail,
    Sessions,
    ToolStats,
)
from heist.services.analytics.table import written
from heist.services.auth import DOCUMENTED, Principal
from heist.services.documented import refusals
from heist.store.figures import By, Chosen

A = TypeVar("A", bound=BaseModel)
CSV = "text/csv"
LONGEST = 200
MOST = 500
LAST = 1_000_000
Word = Annotated[str | None, Query(max_length=LONGEST, pattern=r"^[^\x00]*$")]
Limit = Annotated[int, Query(ge=1, le=MOST)]
Offset = Annotated[int, Query(ge=0, le=LAST)]


def chosen(
    since: Annotated[datetime | None, Query(description="began then or later; UTC where no zone is named")] = None,
    until: Annotated[datetime | None, Query(description="began before then")] = None,
    crew: Word = None,
    model: Word = None,
    variant: Word = None,
    strategy: Annotated[Word, Query(description="of revealed games alone")] = None,
) -> Chosen:
    """Which sessions are meant; raises `Invalid` for a time that cannot be, and for a span without one."""
    begin, end = _moment("since", since), _moment("until", until)
    if begin is not None and end is not None and end <= begin:
        raise Invalid("until: it has to be later than since")
    return Chosen(begin, end, crew, model, variant, strategy)


def _moment(name: str, given: datetime | None) -> str | None:
    if given is None:
        return None
    try:
        return stamp(given if given.tzinfo else given.replace(tzinfo=UTC))
    except (OverflowError, ValueError):
        raise Invalid(f"{name}: there is no such moment in UTC") from None


def form(
    format: Annotated[Literal["json", "csv"] | None, Query(description="stands above the Accept header")] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Literal["json", "csv"]:
    """CSV for who asks for it: by name, or by an Accept header that names it before JSON."""
    if format is not None:
        return format
    before, named, _ = accept.lower().partition(CSV)
    return "csv" if named and "json" not in before and "*/*" not in before else "json"


Sought = Annotated[Chosen, Depends(chosen)]
Form = Annotated[Literal["json", "csv"], Depends(form)]


def router(analytics: Analytics, admit: Callable[[HTTPConnection], Awaitable[Principal]]) -> APIRouter:
    """`admit` gives the principal of a request, by its token or its login."""
    routes = APIRouter(
        prefix="/analytics",
        tags=["analytics"],
        dependencies=[Depends(DOCUMENTED)],
        responses=refusals(401, 422, 503) | {200: {"content": {CSV: {"schema": {"type": "string"}}}}},
    )
    missing: dict[int | str, dict[str, Any]] = refusals(404)

    async def caller(connection: HTTPConnection) -> Principal:
        return await admit(connection)

    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type

    @routes.get(
        "/sessions",
        summary="The sessions in figures, newest first; needs analytics:read",
        response_model=Sessions,
        responses=missing,
    )
    async def sessions(
        principal: Caller,
        sought: Sought,
        wanted: Form,
        limit: Limit = 50,
        before: Word = None,
    ) -> Response | Sessions:
        answer = await analytics.sessions(principal, sought, limit, before)
        return _told(answer, answer.sessions, wanted)

    @routes.get(
        "/sessions/{session_id}",
        summary="One session: its agents, tools and who with whom; CSV tells its agents; needs analytics:read",
        response_model=SessionDetail,
        responses=missing,
    )
    async def session(principal: Caller, session_id: str, wanted: Form) -> Response | SessionDetail:
        answer = await analytics.session(principal, session_id)
        return _told(answer, answer.agents, wanted)

    @routes.get(
        "/tool-stats", summary="How each tool's calls ended, and whose; needs analytics:read", response_model=ToolStats
    )
    async def tool_stats(
        principal: Caller, sought: Sought, wanted: Form, limit: Limit = 100, offset: Offset = 0
    ) -> Response | ToolStats:
        answer = await analytics.tool_stats(principal, sought, limit, offset)
        return _told(answer, answer.tools, wanted)

    @routes.get(
        "/agent-activity",
        summary="What each agent said and called; needs analytics:read",
        response_model=AgentActivity,
    )
    async def agent_activity(
        principal: Caller, sought: Sought, wanted: Form, limit: Limit = 100, offset: Offset = 0
    ) -> Response | AgentActivity:
        answer = await analytics.agent_activity(principal, sought, limit, offset)
        return _told(answer, answer.agents, wanted)

    @routes.get(
        "/interactions",
        summary="Who speaks after whom, and who names whom; needs analytics:read",
        response_model=Interactions,
    )
    async def interactions(
        principal: Caller, sought: Sought, wanted: Form, limit: Limit = MOST, offset: Offset = 0
    ) -> Response | Interactions:
        answer = await analytics.interactions(principal, sought, limit, offset)
        return _told(answer, [*answer.follows, *answer.names], wanted)

    @routes.get(
        "/compare",
        summary="Sessions beside each other, and what differs; CSV tells the differences; needs analytics:read",
        response_model=Comparison,
        responses=missing,
    )
    async def compare(
        principal: Caller,
        session: Annotated[
            list[str],
            Query(min_length=2, max_length=MOST_COMPARED, description="ids; the others are held against the first"),
        ],
        wanted: Form,
    ) -> Response | Comparison:
        answer = await analytics.compare(principal, session)
        return _told(answer, answer.differences, wanted)

    @routes.get(
        "/metrics-summary",
        summary="The whole in figures, also by crew, model or variant; needs analytics:read",
        response_model=MetricsSummary,
        responses=missing,
    )
    async def metrics_summary(
        principal: Caller,
        sought: Sought,
        wanted: Form,
        by: By | None = None,
        detector: Annotated[
            str, Query(max_length=64, description="one of GET /detection/detectors; empty: none is asked")
        ] = "rules",
        last: Annotated[int, Query(ge=1, le=MOST, description="how many games the detector is asked about")] = 25,
    ) -> Response | MetricsSummary:
        answer = await analytics.metrics_summary(principal, sought, by, detector or None, last)
        return _told(answer, [answer.summary, *answer.groups], wanted)

    return routes


def _told(answer: A, rows: Sequence[BaseModel], wanted: Literal["json", "csv"]) -> A | Response:
    """The answer as it is, or its rows as a table."""
    return answer if wanted == "json" else Response(written(rows), media_type=CSV)

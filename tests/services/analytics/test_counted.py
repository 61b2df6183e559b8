"""Every figure equals the one that is counted by hand in the log, whatever happened, whichever sessions are meant."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from heist import events as e
from heist.runtime import Runtime
from heist.services.analytics.analytics import Analytics
from heist.settings import Settings
from heist.store.engine import connect
from heist.store.figures import By, Chosen, Figures
from heist.store.migrate import upgrade
from heist.store.queries import Queries
from tests.conftest import USER
from tests.services.analytics import at, brute, keep
from tests.strategies import houses

pytestmark = pytest.mark.mission("S14")
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
MOMENTS = st.none() | st.integers(0, 90).map(at)


@pytest.fixture
def engine(database_url: str) -> Generator[Engine]:
    engine = connect(database_url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def analytics(engine: Engine, settings: Settings) -> Analytics:
    return Analytics(Figures(engine), Runtime(settings).desk)


@st.composite
def choices(draw: st.DrawFn) -> Chosen:
    return Chosen(
        since=draw(MOMENTS),
        until=draw(MOMENTS),
        crew=draw(st.sampled_from([None, None, "crew", "m"])),
        model=draw(st.sampled_from([None, None, "m"])),
        variant=draw(st.sampled_from([None, None, "a"])),
        strategy=draw(st.sampled_from([None, None, "wrong_tools", "flattery"])),
    )


def sessions(engine: Engine, told: list[e.Event], chosen: Chosen = Chosen()) -> list[brute.Played]:  # noqa: B008
    """What is meant of a house that was just written, by the log, oldest first."""
    keep(engine, told)
    return [one for one in brute.played(Queries(engine).log(0, None)) if brute.fits(one, chosen)]


@shared
@given(told=houses(), chosen=st.just(Chosen()) | choices())
def test_what_is_counted_over_all_sessions(
    analytics: Analytics, engine: Engine, told: list[e.Event], chosen: Chosen
) -> None:
    meant = sessions(engine, told, chosen)

    async def asked() -> None:
        tools = await analytics.tool_stats(USER, chosen, 100)
        assert tools.model_dump() == {"tools": brute.tools(meant), "total": len(tools.tools)}
        agents = await analytics.agent_activity(USER, chosen, 100)
        assert agents.model_dump() == {"agents": brute.agents(meant), "total": len(agents.agents)}
        pairs = (await analytics.interactions(USER, chosen, 100)).model_dump()
        follows, names = brute.follows(meant), brute.names(meant)
        assert pairs == {
            "follows": follows,
            "follows_total": len(follows),
            "names": names,
            "names_total": len(names),
        }
        whole = await analytics.metrics_summary(USER, chosen, detector=None)
        assert whole.summary.model_dump() == brute.summary(meant)
        listed = await analytics.sessions(USER, chosen, 100)
        assert [one.model_dump() for one in listed.sessions] == [brute.session(one) for one in reversed(meant)]

    asyncio.run(asked())


@shared
@given(told=houses(), by=st.sampled_from(["crew", "model", "variant"]), chosen=choices())
def test_groups_are_the_sessions_that_share_a_value(
    analytics: Analytics, engine: Engine, told: list[e.Event], by: By, chosen: Chosen
) -> None:
    meant = sessions(engine, told, chosen)
    groups = asyncio.run(analytics.metrics_summary(USER, chosen, by, detector=None)).groups
    values = sorted({value for one in meant if (value := getattr(one.started, by)) is not None})
    expected = [brute.summary([one for one in meant if getattr(one.started, by) == value], value) for value in values]
    assert [group.model_dump() for group in groups] == expected


@shared
@given(told=houses())
def test_one_session_and_the_comparison_of_all(analytics: Analytics, engine: Engine, told: list[e.Event]) -> None:
    meant = sessions(engine, told)
    for one in meant:
        detail = asyncio.run(analytics.session(USER, one.started.session_id)).model_dump()
        assert detail.pop("seconds") == (None if one.end is None else _minutes(one) * 60)
        assert detail == {
            "session": brute.session(one),
            "agents": brute.agents([one]),
            "tools": brute.tools([one]),
            "follows": brute.follows([one]),
            "names": brute.names([one]),
        }
    if len(meant) < 2:
        return
    compared = asyncio.run(analytics.compare(USER, [one.started.session_id for one in meant]))
    assert [one.model_dump() for one in compared.sessions] == [
        {"session": brute.session(one), "agents": brute.agents([one]), "tools": brute.tools([one])} for one in meant
    ]
    for told_ in compared.differences:
        first, other = (
            next(one for one in meant if one.started.session_id == session_id)
            for session_id in (told_.against, told_.session_id)
        )
        pairs = _pairs(first, other, told_.measure)
        assert told_.difference == _more(_value(first, told_.measure), _value(other, told_.measure))
        assert told_.pairs == len(pairs)
        assert told_.mean == pytest.approx(brute.mean(pairs))
        assert told_.mean is None or (told_.low is not None and told_.low <= told_.mean + 1e-9)
        assert told_.mean is None or (told_.high is not None and told_.high >= told_.mean - 1e-9)
    assert len(compared.differences) == (len(meant) - 1) * 11


def _minutes(one: brute.Played) -> int:
    assert one.end is not None
    return [at(number) for number in range(500)].index(one.end) - [at(number) for number in range(500)].index(one.at)


def _value(one: brute.Played, measure: str) -> float | None:
    found = brute.session(one)
    value: float | None = found.get(measure, (found["game"] or {}).get(measure))
    return value


def _more(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _pairs(first: brute.Played, other: brute.Played, measure: str) -> list[float]:
    found = []
    for agent in brute.agents([other]):
        for same in brute.agents([first]):
            more = _more(same.get(measure), agent.get(measure))
            if same["agent"] == agent["agent"] and more is not None:
                found.append(more)
    return found


@shared
@given(told=houses(), limit=st.integers(1, 3))
def test_pages_meet_without_gap_or_overlap(
    analytics: Analytics, engine: Engine, told: list[e.Event], limit: int
) -> None:
    meant = sessions(engine, told)

    async def paged() -> list[str]:
        found: list[str] = []
        before = None
        while True:
            page = await analytics.sessions(USER, Chosen(), limit, before)
            found += [one.session_id for one in page.sessions]
            before = page.next
            if before is None:
                return found

    async def activity() -> list[dict[str, Any]]:
        pages = [await analytics.agent_activity(USER, Chosen(), limit, offset) for offset in range(0, 9, limit)]
        return [agent.model_dump() for page in pages for agent in page.agents]

    assert asyncio.run(paged()) == [one.started.session_id for one in reversed(meant)]
    assert asyncio.run(activity()) == brute.agents(meant)

"""The authorization server in process: what it grants, whom it keeps waiting, what it tells of a token."""

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import GrantError, InvalidToken, TooMany
from heist.services.auth import LIFETIME, Auth, Resource, Scope
from heist.services.clients import Clients, hashed, new_credentials
from heist.services.keys import Keys
from heist.services.oauth.server import FAILURES, WINDOW, AuthorizationServer, Throttle
from heist.store.clients import Registrations
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import Queries
from tests.services.oauth import AT, Known
from tests.times import HandClock

pytestmark = [pytest.mark.mission("S1"), pytest.mark.anyio]

SITE = "https://heist.example"
REST, MCP = Resource(SITE), Resource(SITE, "/mcp")
BOTH = frozenset({"calculator:use", "files:read"})
KNOWN = frozenset(map(str, Scope)) | {"plugin:use"}
scopes = st.frozensets(st.sampled_from(sorted(KNOWN)))


class House(NamedTuple):
    server: AuthorizationServer
    auth: Auth
    clients: Clients
    clock: HandClock
    registrations: Registrations

    def agent(self, granted: frozenset[str] = BOTH) -> Known:
        return Known(*self.clients.register("mole", granted, "heist_1"))

    def outsider(self, granted: frozenset[str] = BOTH) -> Known:
        name = f"o{new_credentials('o')[0]}"
        known = Known(*new_credentials(name))
        self.registrations.add(known.client_id, name, hashed(known.secret).hex(), " ".join(sorted(granted)), AT)
        return known

    async def token(self, known: Known, *resources: Resource) -> str:
        return (await self.server.grant(*known, None, resources or (REST, MCP))).access_token

    async def guesses(self, known: Known, times: int, address: str = "10.0.0.1") -> list[str]:
        return [await self.guess(known, address) for _ in range(times)]

    async def guess(self, known: Known, address: str = "10.0.0.1", secret: str = "wrong") -> str:
        try:
            await self.server.grant(known.client_id, secret, address=address)
        except GrantError as refused:
            return refused.error
        except TooMany:
            return "wait"
        return "in"


Stored = tuple[Queries, Registrations]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('server')}/heist.db")
    upgrade(engine)
    return Queries(engine), Registrations(engine)


def built(stored: Stored) -> House:
    clock = HandClock()
    clients = Clients(*stored, clock)
    auth = Auth(Keys("k" * 40), clients, clock)
    return House(AuthorizationServer(auth, clients, clock, KNOWN), auth, clients, clock, stored[1])


@pytest.fixture
def house(stored: Stored) -> House:
    return built(stored)


async def refused(asking: Any) -> str:
    with pytest.raises(GrantError) as refusal:
        await asking
    return refusal.value.error


async def test_no_scope_asked_for_gives_all_of_the_clients(house: House) -> None:
    assert (await house.server.grant(*house.agent())).scopes == BOTH


async def test_asking_for_everything_gives_the_intersection(house: House) -> None:
    grant = await house.server.grant(*house.agent(), " ".join(sorted(KNOWN)))
    assert grant.scopes == (await house.auth.verify(grant.access_token)).scopes == BOTH


async def test_a_scope_of_a_plugin_can_be_had_like_any_other(house: House) -> None:
    known = house.outsider(frozenset({"plugin:use"}))
    assert (await house.server.grant(*known, "plugin:use files:read")).scopes == {"plugin:use"}


@pytest.mark.parametrize("asked", ["", " ", "vault:open", "files:read vault:open", "files:read  calculator:use"])
async def test_what_is_no_list_of_scopes_that_exist_is_an_invalid_scope(house: House, asked: str) -> None:
    assert await refused(house.server.grant(*house.agent(), asked)) == "invalid_scope"


async def test_a_client_without_scopes_gets_a_token_that_opens_nothing(house: House) -> None:
    grant = await house.server.grant(*house.agent(frozenset()))
    assert (await house.auth.verify(grant.access_token)).scopes == frozenset()


async def test_an_agent_in_quarantine_gets_no_token_and_hears_why(house: House) -> None:
    known = house.agent()
    house.clients.suspend(known.client_id)
    with pytest.raises(GrantError, match="in quarantine") as refusal:
        await house.server.grant(*known)
    assert (refusal.value.error, refusal.value.client) == ("unauthorized_client", known.client_id)


async def test_who_only_guesses_never_hears_that_a_client_is_in_quarantine(house: House) -> None:
    known = house.agent()
    house.clients.suspend(known.client_id)
    with pytest.raises(GrantError, match="unknown or its secret is wrong"):
        await house.server.grant(known.client_id, "wrong")


async def test_a_disabled_client_looks_like_one_that_never_was(house: House) -> None:
    known = house.outsider()
    house.registrations.disable(known.client_id, AT)
    with pytest.raises(GrantError, match="the client is unknown or its secret is wrong"):
        await house.server.grant(*known)


async def test_after_ten_wrong_secrets_even_the_right_one_has_to_wait(house: House) -> None:
    known = house.agent()
    assert await house.guesses(known, FAILURES) == ["invalid_client"] * 10
    with pytest.raises(TooMany) as refusal:
        await house.server.grant(*known, address="10.0.0.1")
    assert 0 < refusal.value.retry_after <= WINDOW + 1
    assert refusal.value.client == known.client_id


async def test_ten_guesses_at_once_are_counted_like_ten_in_a_row(house: House) -> None:
    known = house.outsider()
    answers = Counter(await asyncio.gather(*[house.guess(known) for _ in range(50)]))
    assert answers == {"invalid_client": FAILURES, "wait": 40}


async def test_guesses_keep_out_neither_another_client_nor_the_same_one_elsewhere(house: House) -> None:
    known, other = house.agent(), house.agent()
    await house.guesses(known, FAILURES)
    assert await house.guess(known, "10.0.0.1", known.secret) == "wait"
    assert await house.guess(other, "10.0.0.1", other.secret) == "in"
    assert await house.guess(known, "10.0.0.2", known.secret) == "in"
    assert await house.guess(known, "in process", known.secret) == "in"


async def test_nine_wrong_secrets_are_forgiven(house: House) -> None:
    known = house.agent()
    await house.guesses(known, FAILURES - 1)
    assert await house.guess(known, "10.0.0.1", known.secret) == "in"


async def test_who_waits_as_long_as_the_answer_says_is_let_in(house: House) -> None:
    known = house.agent()
    await house.guesses(known, FAILURES)
    with pytest.raises(TooMany) as refusal:
        await house.server.grant(*known, address="10.0.0.1")
    house.clock.advance(refusal.value.retry_after - 2)
    assert await house.guess(known, "10.0.0.1", known.secret) == "wait"
    house.clock.advance(2)
    assert await house.guess(known, "10.0.0.1", known.secret) == "in"


async def test_waiting_at_a_closed_door_does_not_make_the_wait_longer(house: House) -> None:
    known = house.agent()
    await house.guesses(known, FAILURES)
    house.clock.advance(WINDOW / 2)
    assert await house.guesses(known, 20) == ["wait"] * 20
    house.clock.advance(WINDOW / 2)
    assert await house.guess(known, "10.0.0.1", known.secret) == "in"


async def test_guesses_at_unknown_clients_are_counted_too(house: House) -> None:
    assert await house.guesses(Known("nobody", ""), FAILURES + 1) == ["invalid_client"] * 10 + ["wait"]


async def test_refusals_of_a_scope_are_not_counted_as_guesses(house: House) -> None:
    known = house.agent()
    for _ in range(FAILURES + 1):
        assert await refused(house.server.grant(*known, "vault:open")) == "invalid_scope"
    assert (await house.server.grant(*known)).scopes == BOTH


def test_ten_thousand_clients_that_are_guessed_at_do_not_stay_in_memory() -> None:
    clock = HandClock()
    throttle = Throttle(clock)
    for number in range(10_010):
        throttle.failed("10.0.0.1", f"c{number}")
    clock.advance(WINDOW + 1)
    throttle.failed("10.0.0.1", "last")
    assert len(throttle._failures) < 10


async def test_introspection_tells_a_client_all_of_its_own_token(house: House) -> None:
    known = house.outsider()
    token = await house.token(known)
    client = await house.server.authenticate(*known, "10.0.0.1")
    worth = await house.server.introspect(client, token)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert worth == claims | {"active": True, "token_type": "Bearer", "username": client.name}
    assert worth["aud"] == [REST.uri, MCP.uri]


@pytest.mark.parametrize("resource", [REST, MCP])
async def test_a_token_for_one_part_can_be_inspected_and_revoked_all_the_same(house: House, resource: Resource) -> None:
    known = house.outsider()
    token = await house.token(known, resource)
    client = await house.server.authenticate(*known, "10.0.0.1")
    assert (await house.server.introspect(client, token))["aud"] == resource.uri
    await house.server.revoke(client, token)
    assert await house.server.introspect(client, token) == {"active": False}


async def test_introspection_tells_nothing_of_a_token_of_another_without_the_scope_for_it(house: House) -> None:
    token = await house.token(house.outsider())
    stranger = await house.server.authenticate(*house.outsider(), "10.0.0.1")
    assert await house.server.introspect(stranger, token) == {"active": False}
    auditor = await house.server.authenticate(*house.outsider(frozenset({"tokens:introspect"})), "10.0.0.1")
    assert (await house.server.introspect(auditor, token))["active"] is True


async def test_a_token_that_is_not_good_is_not_active(house: House) -> None:
    auditor = await house.server.authenticate(*house.outsider(frozenset({"tokens:introspect"})), "10.0.0.1")
    quarantined, disabled, late = house.agent(), house.outsider(), house.outsider()
    tokens = [await house.token(known) for known in (quarantined, disabled, late)]
    for token in tokens:
        assert (await house.server.introspect(auditor, token))["active"] is True
    house.clients.suspend(quarantined.client_id)
    house.registrations.disable(disabled.client_id, AT)
    house.clock.advance(LIFETIME + 5)
    in_process = (await house.server.grant(*house.agent())).access_token
    for token in (*tokens, in_process, "garbage", "", "a.b.c", "\ud800"):
        assert await house.server.introspect(auditor, token) == {"active": False}


async def test_revoking_the_token_of_another_is_refused_and_changes_nothing(house: House) -> None:
    token = await house.token(house.outsider())
    auditor = await house.server.authenticate(*house.outsider(frozenset({"tokens:introspect"})), "10.0.0.1")
    assert await refused(house.server.revoke(auditor, token)) == "invalid_grant"
    assert (await house.auth.verify(token, REST)).scopes == BOTH


async def test_revoking_what_is_no_good_token_is_no_error(house: House) -> None:
    known = house.outsider()
    client = await house.server.authenticate(*known, "10.0.0.1")
    token = await house.token(known)
    await house.server.revoke(client, token)
    for worthless in (token, "garbage", "a.b.c"):
        await house.server.revoke(client, worthless)
    with pytest.raises(InvalidToken, match="revoked"):
        await house.auth.verify(token, REST)


@given(held=scopes, asked=st.lists(st.sampled_from(sorted(KNOWN)), min_size=1))
async def test_asking_for_more_never_gives_more_than_the_client_has(
    stored: Stored, held: frozenset[str], asked: list[str]
) -> None:
    house = built(stored)
    known = house.agent(held)
    if not held & set(asked):
        assert await refused(house.server.grant(*known, " ".join(asked))) == "invalid_scope"
        return
    grant = await house.server.grant(*known, " ".join(asked))
    assert grant.scopes == (await house.auth.verify(grant.access_token)).scopes == held & set(asked)


@given(fewer=st.sets(st.sampled_from(sorted(KNOWN)), min_size=1), more=st.sets(st.sampled_from(sorted(KNOWN))))
async def test_asking_for_more_never_gives_less(stored: Stored, fewer: set[str], more: set[str]) -> None:
    house = built(stored)
    known = house.agent()
    granted = [await given_for(house, known, asked) for asked in (fewer, fewer | more)]
    assert granted[0] <= granted[1] <= BOTH


async def given_for(house: House, known: Known, asked: set[str]) -> frozenset[str]:
    try:
        return (await house.server.grant(*known, " ".join(sorted(asked)))).scopes
    except GrantError:
        return frozenset()


@given(asked=st.text())
async def test_no_text_asked_for_gives_more_than_the_client_has(stored: Stored, asked: str) -> None:
    house = built(stored)
    grant, codes = None, []
    try:
        grant = await house.server.grant(*house.agent(), asked)
    except GrantError as refusal:
        codes.append(refusal.error)
    assert set(codes) <= {"invalid_scope"}
    assert grant is None or grant.scopes <= BOTH

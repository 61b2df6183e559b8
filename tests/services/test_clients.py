"""The clients: the agents of a session in memory, the ones from outside in the database."""

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import StoreError
from heist.services.clients import Client, Clients, hashed, new_credentials
from heist.store.clients import Registrations
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import Queries
from tests.services.oauth import AT
from tests.times import HandClock

pytestmark = [pytest.mark.mission("S1"), pytest.mark.anyio]

SCOPES = frozenset({"calculator:use", "files:read"})


class House(NamedTuple):
    clients: Clients
    queries: Queries
    registrations: Registrations
    clock: HandClock
    file: Path

    def outsider(self, name: str = "analyst") -> tuple[str, str]:
        client_id, secret = new_credentials(name)
        self.registrations.add(client_id, name, hashed(secret).hex(), "calculator:use files:read", AT)
        return client_id, secret

    def agent(self, name: str = "mole") -> Client:
        client_id, _ = self.clients.register(name, SCOPES, "heist_1")
        client = self.clients.agent(client_id)
        assert client is not None
        return client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    file = tmp_path_factory.mktemp("clients") / "heist.db"
    engine = connect(f"sqlite:///{file}")
    upgrade(engine)
    queries, registrations, clock = Queries(engine), Registrations(engine), HandClock()
    return House(Clients(queries, registrations, clock), queries, registrations, clock, file)


async def test_a_clients_secret_has_256_bits_and_only_its_hash_is_kept(house: House) -> None:
    client_id, secret = house.clients.register("planner", SCOPES, "heist_1")
    client = await house.clients.find(client_id)
    assert client is not None
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    assert client.secret_hash == hashlib.sha256(secret.encode()).digest()
    assert secret not in repr(client)


def test_no_two_clients_share_an_id_or_a_secret() -> None:
    made = [new_credentials("mole") for _ in range(100)]
    assert len({client_id for client_id, _ in made}) == len({secret for _, secret in made}) == 100
    assert all(client_id.startswith("mole-") for client_id, _ in made)


async def test_an_agent_belongs_to_its_session_and_is_gone_with_it(house: House) -> None:
    agent = house.agent()
    assert await house.clients.find(agent.client_id) == agent
    assert (agent.name, agent.session_id, agent.suspended) == ("mole", "heist_1", False)
    house.clients.remove(agent.client_id)
    house.clients.remove(agent.client_id)
    assert await house.clients.find(agent.client_id) is None
    assert house.clients.agent(agent.client_id) is None


async def test_two_agents_of_one_name_are_two_clients(house: House) -> None:
    first, second = house.agent(), house.agent()
    house.clients.remove(first.client_id)
    assert await house.clients.find(second.client_id) == second


async def test_a_suspended_agent_exists_and_is_suspended(house: House) -> None:
    agent = house.agent()
    house.clients.suspend(agent.client_id)
    found = await house.clients.find(agent.client_id)
    assert found is not None
    assert (found.suspended, found.client_id) == (True, agent.client_id)


async def test_an_agent_is_never_written_to_the_database(house: House) -> None:
    agent = house.agent("nobody-else")
    assert house.queries.client(agent.client_id) is None
    assert agent.name not in [row.name for row in house.queries.all_clients()]


async def test_a_client_from_outside_is_found_as_soon_as_it_is_added_and_lost_as_soon_as_it_is_disabled(
    house: House,
) -> None:
    client_id, secret = house.outsider("late")
    found = await house.clients.find(client_id)
    assert found == Client(client_id, "late", hashed(secret), SCOPES, None, False)
    assert house.clients.agent(client_id) is None
    house.registrations.disable("late", AT)
    assert await house.clients.find(client_id) is None


async def test_a_client_from_outside_is_found_by_its_id_and_by_nothing_else(house: House) -> None:
    client_id, _ = house.outsider("exact")
    for near in ("exact", client_id.upper(), f"{client_id} ", client_id[:-1], f"{client_id}\n", f"{client_id}\0", "%"):
        assert await house.clients.find(near) is None


@given(anything=st.text())
async def test_no_text_is_a_client_by_chance(house: House, anything: str) -> None:
    assert await house.clients.find(anything) is None


async def test_a_revoked_token_stays_revoked_while_it_could_live(house: House) -> None:
    now = int(house.clock.now().timestamp())
    client_id, _ = house.outsider("revoker")
    outsider = await house.clients.find(client_id)
    assert outsider is not None
    for client in (house.agent(), outsider):
        jti = f"of {client.client_id}"
        assert not await house.clients.revoked(client, jti)
        await house.clients.revoke(client, jti, now + 300)
        await house.clients.revoke(client, jti, now + 300)
        for number in range(5):
            await house.clients.revoke(client, f"{jti} {number}", now + 300)
        assert await house.clients.revoked(client, jti)
        assert not await house.clients.revoked(client, f"{jti} unheard of")


async def test_revocations_are_forgotten_when_their_tokens_would_have_expired_anyway(house: House) -> None:
    clock = HandClock()
    clients = Clients(house.queries, house.registrations, clock)
    now = int(clock.now().timestamp())
    client_id, _ = clients.register("mole", SCOPES, "heist_1")
    agent = clients.agent(client_id)
    assert agent is not None
    await clients.revoke(agent, "old", now + 300)
    clock.advance(359)
    await clients.revoke(agent, "between", now + 600)
    assert await clients.revoked(agent, "old")
    clock.advance(2)
    await clients.revoke(agent, "new", now + 900)
    assert not await clients.revoked(agent, "old")
    assert await clients.revoked(agent, "new")


async def test_two_revocations_at_once_are_both_remembered(house: House) -> None:
    client_id, _ = house.outsider("hasty")
    outsider = await house.clients.find(client_id)
    assert outsider is not None
    now = int(house.clock.now().timestamp())
    await asyncio.gather(*[house.clients.revoke(outsider, f"at once {number}", now + 300) for number in range(8)])
    assert all([await house.clients.revoked(outsider, f"at once {number}") for number in range(8)])


async def test_a_database_that_is_gone_is_one_sentence_and_lets_nobody_in(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/empty.db")
    clients = Clients(Queries(engine), Registrations(engine), HandClock())
    with pytest.raises(StoreError, match="could not be read: no such table"):
        await clients.find("analyst-1")
    client = Client("analyst-1", "analyst", b"", SCOPES)
    with pytest.raises(StoreError, match="could not be written: no such table"):
        await clients.revoke(client, "x", 1)
    with pytest.raises(StoreError):
        await clients.revoked(client, "x")

"""Registrations: who may ask for tokens, and which tokens are no longer good."""

from typing import NamedTuple

import pytest

from heist.errors import Conflict, NotFound, StoreError
from heist.store.clients import GRACE, Registrations
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import ClientRow, Queries
from tests.conftest import NO_TABLE

pytestmark = pytest.mark.mission("S1")

AT, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"
HASH = "ab" * 32


class Store(NamedTuple):
    registrations: Registrations
    queries: Queries

    def add(self, client_id: str, name: str, at: str = AT) -> None:
        self.registrations.add(client_id, name, HASH, "calculator:use files:read", at)


@pytest.fixture
def store(database_url: str) -> Store:
    engine = connect(database_url)
    upgrade(engine)
    return Store(Registrations(engine), Queries(engine))


def test_a_client_that_is_added_is_found_as_it_was_given(store: Store) -> None:
    store.add("clerk-1", "clerk")
    expected = ClientRow("clerk-1", "clerk", HASH, "calculator:use files:read", AT, None)
    assert store.queries.client("clerk-1") == expected


def test_a_name_is_taken_while_its_client_is_not_disabled(store: Store) -> None:
    store.add("clerk-1", "clerk")
    with pytest.raises(Conflict, match="there is already a client 'clerk'; disable it first"):
        store.add("clerk-2", "clerk")
    store.registrations.disable("clerk", AT)
    store.add("clerk-2", "clerk", LATER)
    assert [(row.client_id, row.disabled_at) for row in store.queries.all_clients()] == [
        ("clerk-1", AT),
        ("clerk-2", None),
    ]


def test_an_id_is_never_given_again(store: Store) -> None:
    store.add("clerk-1", "clerk")
    store.registrations.disable("clerk-1", AT)
    with pytest.raises(Conflict):
        store.add("clerk-1", "another")


@pytest.mark.parametrize("called", ["clerk", "clerk-1"])
def test_a_client_is_disabled_by_its_name_or_its_id_and_no_other_is(store: Store, called: str) -> None:
    store.add("clerk-1", "clerk")
    store.add("guard-1", "guard")
    store.registrations.disable(called, LATER)
    assert [(row.name, row.disabled_at) for row in store.queries.all_clients()] == [("clerk", LATER), ("guard", None)]


@pytest.mark.parametrize("called", ["nobody", "CLERK", "cler%", "", "clerk-1 ", "x" * 500])
def test_who_is_not_there_cannot_be_disabled(store: Store, called: str) -> None:
    store.add("clerk-1", "clerk")
    with pytest.raises(NotFound, match="there is no client") as refused:
        store.registrations.disable(called, AT)
    assert len(str(refused.value)) < 120


def test_a_client_is_disabled_once_and_the_first_time_counts(store: Store) -> None:
    store.add("clerk-1", "clerk")
    store.registrations.disable("clerk", AT)
    with pytest.raises(NotFound):
        store.registrations.disable("clerk", LATER)
    assert store.queries.all_clients()[0].disabled_at == AT


def test_of_clients_with_one_name_only_the_active_one_is_disabled(store: Store) -> None:
    store.add("clerk-1", "clerk")
    store.registrations.disable("clerk", AT)
    store.add("clerk-2", "clerk", LATER)
    store.registrations.disable("clerk", LATER)
    assert [row.disabled_at for row in store.queries.all_clients()] == [AT, LATER]


def test_a_revoked_token_is_known_and_no_other_is(store: Store) -> None:
    assert not store.queries.is_revoked("j1")
    store.registrations.revoke("j1", 1300, 1000)
    store.registrations.revoke("j1", 1300, 1001)
    assert (store.queries.is_revoked("j1"), store.queries.is_revoked("j2")) == (True, False)


def test_a_revocation_outlives_its_token_by_a_while_and_is_then_forgotten(store: Store) -> None:
    store.registrations.revoke("old", 1300, 1000)
    store.registrations.revoke("between", 5000, 1300 + GRACE)
    assert store.queries.is_revoked("old")
    store.registrations.revoke("new", 5000, 1301 + GRACE)
    assert not store.queries.is_revoked("old")
    assert store.queries.is_revoked("between")


def test_a_database_that_is_gone_is_one_sentence(database_url: str) -> None:
    registrations = Registrations(connect(database_url))
    sentence = f"the database could not be written: {NO_TABLE}"
    with pytest.raises(StoreError, match=sentence):
        registrations.add("a", "a", HASH, "", AT)
    with pytest.raises(StoreError, match=sentence):
        registrations.disable("a", AT)
    with pytest.raises(StoreError, match=sentence):
        registrations.revoke("j", 1, 1)

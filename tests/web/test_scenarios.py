"""What everybody may know of a job, and nothing of what is true in a game."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from heist.settings import shipped
from heist.world import scenario as scenarios
from heist.world.game import draw

CONFIG = shipped("config")
NAMES = scenarios.names(CONFIG)


def keys(part: Any) -> set[str]:
    if isinstance(part, dict):
        return set(part) | {key for inner in part.values() for key in keys(inner)}
    return {key for inner in part for key in keys(inner)} if isinstance(part, list) else set()


@pytest.mark.parametrize("name", NAMES)
def test_a_job_has_its_rooms_and_empty_slots_and_never_what_is_true(browser: TestClient, name: str) -> None:
    answer = browser.get(f"/api/scenarios/{name}")
    assert answer.status_code == 200
    job, scenario = answer.json(), scenarios.read(CONFIG, name)
    assert {place: room["at"] for place, room in job["places"].items()} == {
        place: list(room.at) for place, room in scenario.places.items()
    }
    assert list(job["slots"]) == list(scenario.slots)
    secret = {"value", "draw", "wrong", "facts", "reckon", "unset", "rules", "legs", "documents", "database", "night"}
    assert not keys(job) & secret
    # The choices of a slot hold the true one among them; nothing else that is true may stand there.
    offered = {choice for slot in scenario.slots.values() for choice in slot.among}
    for seed in (None, 1, 2):
        for fact, value in draw(scenario, seed).values.items():
            if value not in offered and not str(value).isdigit():
                assert str(value) not in json.dumps(job), fact


def test_two_games_of_one_job_show_the_same(browser: TestClient) -> None:
    before = browser.get(f"/api/scenarios/{NAMES[0]}").text
    browser.post("/api/sessions", json={"rounds": 1})
    assert browser.get(f"/api/scenarios/{NAMES[0]}").text == before


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fcrew", "First_National_Bank"])
def test_a_job_that_is_not_there_is_said_in_words(browser: TestClient, name: str) -> None:
    answer = browser.get(f"/api/scenarios/{name}")
    assert answer.status_code == 404


def test_a_job_is_for_those_who_are_logged_in(client: TestClient) -> None:
    assert client.get(f"/api/scenarios/{NAMES[0]}").status_code == 401

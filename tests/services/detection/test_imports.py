"""Public transcripts: what players could see becomes a case, and nothing else does."""

import json
from pathlib import Path
from typing import Any

import pytest

from heist.errors import ConfigError
from heist.services.detection.case import Said, Team
from heist.services.detection.imports import datasets


def called(turn: int, agent: str, name: str, visibility: str = "public", **given: object) -> dict[str, Any]:
    call = {"name": name, "args": given, "visibility": visibility}
    return {"turn": turn, "agent": agent, "text": "", "tool_calls": [call]}


GAME: dict[str, Any] = {
    "dataset": "avalon",
    "game_id": "g1",
    "agents": ["Alice", "Bob", "Charlie"],
    "saboteurs": ["Charlie"],
    "roles": {"Charlie": "assassin"},
    "models": {"Alice": "m", "Bob": "m", "Charlie": "m"},
    "winner": "evil",
    "messages": [
        {"turn": 0, "agent": "Alice", "text": "Hello.", "phase": "m1-discussion"},
        called(1, "Bob", "propose_team", team=["Bob"]),
        called(2, "Alice", "vote_team", vote="reject"),
        called(3, "Bob", "propose_team", team=["Alice", "Charlie"]),
        called(4, "Charlie", "vote_team", vote="approve"),
        called(5, "Charlie", "quest", "private", action="fail"),
        {"turn": 6, "agent": "system", "text": "mission 1: fail (1 fail cards)"},
    ],
}


def test_a_game_becomes_a_case_with_its_saboteurs_beside_it(tmp_path: Path) -> None:
    (tmp_path / "avalon.jsonl").write_text(json.dumps(GAME) + "\n\n")
    [dataset] = datasets(tmp_path)
    [(case, moles)] = dataset.games
    assert (dataset.name, case.session_id, case.model, moles) == ("avalon", "avalon/g1", "m", frozenset({"Charlie"}))
    assert case.names == ("Alice", "Bob", "Charlie")
    assert case.deeds == (
        Said(0, "Alice", "Hello."),
        Team(1, ("Bob",), (), -1),
        Team(3, ("Alice", "Charlie"), ("Charlie",), 1),
    )


def test_other_roles_another_winner_and_other_private_calls_change_nothing(tmp_path: Path) -> None:
    other = json.loads(json.dumps(GAME)) | {"roles": {"Alice": "assassin"}, "winner": "good", "saboteurs": []}
    other["messages"][5]["tool_calls"][0]["args"] = {"action": "success"}
    for name, game in (("a", GAME), ("b", other)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(game))
    one, two = datasets(tmp_path)
    assert one.games[0].case == two.games[0].case


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "line 1: not JSON"), ('{"dataset": "x"}', "line 1: game_id"), ("\n[]", "line 2: ")],
)
def test_a_wrong_line_is_named(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        list(datasets(tmp_path))


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no \.jsonl file here"):
        list(datasets(tmp_path))

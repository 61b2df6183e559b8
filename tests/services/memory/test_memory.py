"""An agent's own memory, over HTTP and in process: nobody else's words are ever in it."""

import httpx2
import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.errors import InsufficientScope, ToolFailure
from heist.llm.model import Call, Prompt
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, Principal, Scope
from heist.services.memory.memory import Memory
from tests.agents.test_sessions import log
from tests.conftest import USER, House
from tests.strategies import Talker

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S5", "S20")]


async def session(runtime: Runtime) -> str:
    session_id = await runtime.sessions.start(USER, Order(seed=7, rounds=4))
    await runtime.sessions.finished(session_id)
    return session_id


async def test_an_agent_remembers_what_it_said_and_found_out_and_nothing_of_others(runtime: Runtime) -> None:
    one, other = await session(runtime), await session(runtime)
    memory = Memory(runtime.queries, runtime.bus.settled)
    for name in ("planner", "hacker", "intel", "lookout"):
        told = (await memory.recall(Principal(name, AGENT_SCOPES, one), 4000, 50)).text
        mine = [event for event in log(runtime, one) if isinstance(event, e.MessageCompleted) and event.agent == name]
        others = [event for event in log(runtime, one) if isinstance(event, e.MessageCompleted) and event.agent != name]
        assert all(" ".join(event.text.split()) in told for event in mine)
        said = {event.text for event in mine}  # the simulated crew has phrases that anybody may use
        assert not any(event.text in told for event in others if event.text not in said and len(event.text) > 60)
    elsewhere = (await memory.recall(Principal("hacker", AGENT_SCOPES, other), 4000, 50)).text
    assert elsewhere


async def test_what_was_noted_a_moment_ago_is_remembered_in_the_same_turn(runtime: Runtime) -> None:
    def answer(prompt: Prompt) -> str | Call:
        if not any(tool.name == "store_memory" for tool in prompt.tools):
            return "Nothing."
        noted = prompt.messages[-1].role == "tool"
        return Call("2", "get_compressed_memory", "{}") if noted else Call("1", "store_memory", "the dog is called Rex")

    runtime.source._simulated = Talker(answer)
    session_id = await runtime.sessions.start(USER, Order(rounds=2))
    await runtime.sessions.finished(session_id)
    calls = [event for event in log(runtime, session_id) if isinstance(event, e.ToolCalled)]
    recalled = [call.result for call in calls if call.tool == "get_compressed_memory"]
    assert [result.count("the dog is called Rex") for result in recalled] == [1, 1, 2, 2]


async def test_nobody_recalls_for_another_or_without_the_scope_or_a_session(runtime: Runtime) -> None:
    memory = Memory(runtime.queries, runtime.bus.settled)
    with pytest.raises(InsufficientScope, match="agents share by speaking"):
        await memory.recall(Principal("mole", AGENT_SCOPES, "s"), 100, 5, agent="planner")
    with pytest.raises(InsufficientScope, match="memory:read"):
        await memory.recall(Principal("mole", frozenset(), "s"), 100, 5)
    with pytest.raises(ToolFailure, match="belongs to no session"):
        await memory.recall(Principal("laptop", AGENT_SCOPES), 100, 5)


async def test_what_an_agent_stores_over_http_it_recalls_and_no_other_does(served: House) -> None:
    runtime = served.runtime
    headers = {"Origin": served.url}
    async with httpx2.AsyncClient(base_url=served.url, headers=headers) as http:
        await http.get("/login", params={"token": served.gate.token}, follow_redirects=False)
        begun = (await http.post("/api/sessions", json={"paused": True})).json()["session_id"]

        async def agent(name: str) -> dict[str, str]:
            scopes = frozenset({Scope.MEMORY_READ.value, Scope.MEMORY_WRITE.value})
            client_id, secret = runtime.clients.register(name, scopes, begun)
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
            answer = await http.post("/oauth/token", data=form)
            return {"Authorization": f"Bearer {answer.json()['access_token']}"}

        lookout, mole = await agent("lookout"), await agent("mole")
        stored = await http.post("/memory/lookout", json={"message": "The van is blue."}, headers=lookout)
        assert (stored.status_code, stored.json()) == (200, {"noted": "The van is blue."})
        tool = await http.post("/tools/store_memory", json={"message": "Door 9 squeaks."}, headers=lookout)
        assert tool.status_code == 200
        asked = {"question": "Which door squeaks?", "max_tokens": "200"}
        mine = (await http.get("/memory/lookout", params=asked, headers=lookout)).json()
        assert "Door 9 squeaks." in mine["memory"]
        assert "The van is blue." in mine["memory"]
        assert mine["tokens"] <= 200
        assert (await http.get("/memory/lookout", headers=mole)).status_code == 403
        assert (await http.get("/memory/mole", headers=mole)).json()["memory"] == ""
        recalled = await http.post("/tools/get_compressed_memory", json={"question": "van"}, headers=lookout)
        assert "The van is blue." in recalled.json()["text"]
        assert (await http.get("/memory/lookout", params={"max_tokens": 3}, headers=lookout)).status_code == 422

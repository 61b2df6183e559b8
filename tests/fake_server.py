"""A fast OpenAI-compatible server with scripted replies: the other side of the wire in tests and benchmarks.

It is written on `asyncio.Protocol` because it must never be the slower side: with `delay` it stands for a model that
thinks for that many seconds. What it answers depends on the request alone, so that any number of sessions may share it:
a prompt that names a turn divisible by three is answered with a tool call, the result of which gets plain text.

Faults, by model name in the request: `fault-500`, `fault-hang`, `fault-rubbish`, `fault-empty`, `fault-cut` (closes the
stream in the middle), `fault-late` (the error arrives inside a stream that began with 200), `fault-no-tools` (answers
400 to any request that offers tools), `fault-text-tools` (asks for the calculator in text).
"""

import argparse
import asyncio
import json
import re
from collections.abc import Iterator
from typing import cast

TURN = re.compile(r"\bturn (\d+)\b", re.IGNORECASE)
WORDS = (
    "The guards change at ten and the lobby stays empty for some minutes so we should use the loading dock then and "
    "keep the van running while I listen to the radio for the police"
).split()
MODEL = "fake-1"
USAGE = {"prompt_tokens": 400, "completion_tokens": len(WORDS), "total_tokens": 400 + len(WORDS)}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "calculator", "arguments": '{"expression": "45 * 60 / 12"}'},
}


def wants_tool(body: dict[str, object]) -> bool:
    messages = body["messages"]
    assert isinstance(messages, list)
    if not body.get("tools") or messages[-1]["role"] == "tool":
        return False
    turn = TURN.search(messages[-1]["content"][-2000:])
    return turn is not None and int(turn[1]) % 3 == 0


def chunk(delta: dict[str, object] | None, finish: str | None = None, usage: bool = False) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body: dict[str, object] = {"id": "c", "object": "chat.completion.chunk", "model": MODEL, "choices": choices}
    if usage:
        body["usage"] = USAGE
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def stream(pieces: list[str]) -> bytes:
    deltas = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": piece}) for piece in pieces)]
    return b"".join([*deltas, chunk({}, "stop"), chunk(None, usage=True), b"data: [DONE]\n\n"])


def stream_call() -> bytes:
    function = CALL["function"]
    assert isinstance(function, dict)
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": function["arguments"]}}
    deltas = [chunk({"role": "assistant", "content": None, "tool_calls": [first]}), chunk({"tool_calls": [rest]})]
    return b"".join([*deltas, chunk({}, "tool_calls"), chunk(None, usage=True), b"data: [DONE]\n\n"])


def whole(message: dict[str, object], finish: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice], "usage": USAGE}
    return json.dumps(body).encode()


SPOKEN_STREAM = stream([word + " " for word in WORDS])
CALL_STREAM = stream_call()
SPOKEN = whole({"content": " ".join(WORDS)}, "stop")
CALLED = whole({"content": None, "tool_calls": [CALL]}, "tool_calls")


def response(status: str, body: bytes, kind: str = "application/json", close: bool = False) -> bytes:
    ending = b"Connection: close\r\n" if close else b""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n".encode()
    return head + ending + b"\r\n" + body


def error(status: str, message: str) -> bytes:
    return response(status, json.dumps({"error": {"message": message, "type": "fake"}}).encode())


def answer(body: dict[str, object]) -> bytes | None:
    """The whole HTTP response for one chat request; None means that none will ever come."""
    match body.get("model"):
        case "fault-500":
            return error("500 Internal Server Error", "the fake server is broken")
        case "fault-hang":
            return None
        case "fault-rubbish":
            return response("200 OK", b"data: {not json\n\n" if body.get("stream") else b"<html>", "text/event-stream")
        case "fault-empty":
            return response("200 OK", stream([]), "text/event-stream")
        case "fault-cut":
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            piece = chunk({"content": "I was about to "})
            return head + f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        case "fault-late":
            late = b'data: {"error": {"message": "context window exceeded"}}\n\n'
            return response("200 OK", chunk({"content": "Well"}) + late, "text/event-stream")
        case "fault-no-tools" if body.get("tools"):
            return error("400 Bad Request", "tools are not supported by this model")
        case "fault-text-tools" | "fault-no-tools":
            messages = body["messages"]
            assert isinstance(messages, list)
            asked = "[TOOL:" in str(messages[-1]["content"]) and "Result of calculator" not in str(messages[-1])
            pieces = ["Let me ", "see. [TO", "OL:calcul", "ator:6*7", "] wait"] if asked else ["It is ", "42."]
            return response("200 OK", stream(pieces), "text/event-stream")
    called = wants_tool(body)
    if body.get("stream"):
        return response("200 OK", CALL_STREAM if called else SPOKEN_STREAM, "text/event-stream")
    return response("200 OK", CALLED if called else SPOKEN)


class Connection(asyncio.Protocol):
    """One keep-alive connection: reads whole requests, answers each in order."""

    def __init__(
        self,
        delay: float,
        seen: list[dict[str, object]] | None = None,
        models: tuple[str, ...] = (MODEL,),
        connections: set[asyncio.Transport] | None = None,
    ) -> None:
        self.delay = delay
        self.seen = seen
        self.models = models
        self.connections = connections
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass of asyncio's
        if self.connections is not None:
            self.connections.add(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        for method, path, body in self.requests():
            self.serve(method, path, body)

    def requests(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        while True:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            length = int(found[1]) if found else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            method, path, _ = head.split(b" ", 2)
            yield method, path, rest[:length]

    def serve(self, method: bytes, path: bytes, body: bytes) -> None:
        if method == b"POST" and path == b"/v1/chat/completions":
            request = json.loads(body)
            if self.seen is not None:
                self.seen.append(request)
            asyncio.get_running_loop().call_later(self.delay, self.reply, answer(request))
        elif path == b"/v1/models":
            listed = [{"id": model} for model in self.models]
            self.reply(response("200 OK", json.dumps({"object": "list", "data": listed}).encode()))
        else:
            self.reply(error("404 Not Found", "no such path"))

    def reply(self, content: bytes | None) -> None:
        if content is None or self.transport.is_closing():
            return
        self.transport.write(content)
        if b"Transfer-Encoding: chunked" in content[:200]:
            self.transport.close()


async def listen(
    delay: float = 0.0,
    port: int = 0,
    seen: list[dict[str, object]] | None = None,
    models: tuple[str, ...] = (MODEL,),
    connections: set[asyncio.Transport] | None = None,
) -> tuple[asyncio.Server, str]:
    """Starts the server on a free loopback port; answers it and its base URL. `seen` collects the request bodies,
    `connections` what has to be closed for the server to be gone."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(delay, seen, models, connections), "127.0.0.1", port
    )
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    server, url = await listen(parser.parse_args().delay)
    print(url, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())

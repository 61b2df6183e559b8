"""The network: where model servers are found, and how one of their models is asked."""

import asyncio
from base64 import b64encode
from typing import Literal, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import httpx2
import openai

from heist.llm import discovery, endpoint, local
from heist.llm.discovery import Found
from heist.llm.endpoint import Endpoint, Patience
from heist.llm.model import Form, Model
from heist.llm.resilience import Lanes, Limited, Retrying
from heist.llm.simulated import Simulated


class Wanted(NamedTuple):
    """What the settings say of models. `slots` None is what the server tells."""

    llm: str
    name: str | None = None
    key: str | None = None
    tools: Form | Literal["auto"] = "auto"
    patience: Patience = Patience()
    slots: int | None = None


class Network(Protocol):
    """Everything of models that lies outside of this process."""

    async def find(self) -> Found | None:
        """The best local server that is there."""

    async def ask(self, address: str) -> Found:
        """The server at an address; raises `ModelError`."""

    async def reach(self, found: Found) -> None:
        """Returns when a server that was found still answers; raises `ModelError`."""

    def model(self, found: Found, name: str) -> Model:
        """A model of a server that was found, asked again where that costs nothing."""

    def simulated(self) -> Model:
        """Who speaks where no server does."""

    async def close(self) -> None:
        """Nothing is open any more."""


class Address(NamedTuple):
    """Where a server is, as everybody may read it; `login` is the header that opens it, empty where there is none."""

    base_url: str
    login: str = ""


def parted(told: str) -> Address:
    """Name and password, which an address may hold before its host, become a header of basic authentication."""
    parts = urlsplit(told.rstrip("/"))
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return Address(told.rstrip("/"))
    login = ":".join(unquote(one) for one in (user if ":" in user else f"{user}:").split(":", 1))
    return Address(parts._replace(netloc=host).geturl(), f"Basic {b64encode(login.encode()).decode()}")


class Line(NamedTuple):
    """The way to one server: its client and its lanes, which all sessions share."""

    client: openai.AsyncOpenAI
    lanes: Lanes


class Live:
    """The network as it is. A server is asked once for what it has."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._found: dict[str, Found] = {}
        self._lines: dict[str, Line] = {}
        self._own: dict[str, local.Running] = {}
        self._logins: dict[str, str] = {}
        if wanted.llm.startswith("http"):
            self._remember(wanted.llm)

    async def find(self) -> Found | None:
        async with httpx2.AsyncClient(trust_env=False) as http:
            found = await discovery.find(http)
        return found and self._found.setdefault(found.base_url, found)

    async def ask(self, address: str) -> Found:
        own = local.is_local(address)
        known = await self._own_address(address) if own else self._remember(address)
        if known not in self._found:
            headers = {} if own else self._headers(known)
            async with httpx2.AsyncClient(headers=headers, trust_env=not own) as http:
                self._found[known] = await discovery.ask(http, known)
        return self._found[known]

    async def reach(self, found: Found) -> None:
        async with httpx2.AsyncClient(headers=self._headers(found.base_url)) as http:
            await discovery.reach(http, found)

    def _remember(self, told: str) -> str:
        """The address without its login, which is kept for whoever names the same server."""
        found = parted(told)
        if found.login:
            self._logins[found.base_url] = found.login
        return found.base_url

    def _headers(self, base_url: str) -> dict[str, str]:
        key = f"Bearer {self._wanted.key}" if self._wanted.key else ""
        login = self._logins.get(base_url) or key
        return {"Authorization": login} if login else {}

    async def _own_address(self, address: str) -> str:
        """That of a server that this process has started for itself, or starts now."""
        own = self._own.get(address)
        if own is None or not own.alive:
            wanted = local.wanted(address, self._wanted.slots)
            self._own[address] = own = await asyncio.to_thread(local.start, wanted)
        return own.base_url

    def model(self, found: Found, name: str) -> Model:
        line = self._line(found)
        told = self._wanted
        plain = Endpoint(line.client, name, str(found), found.ability(name), told.tools, told.patience)
        return Retrying(Limited(plain, line.lanes))

    def _line(self, found: Found) -> Line:
        if found.base_url not in self._lines:
            slots = self._wanted.slots or next((able.slots for able in found.models.values()), None)
            self._lines[found.base_url] = Line(
                endpoint.client(found.base_url, self._wanted.key, self._logins.get(found.base_url)), Lanes(slots)
            )
        return self._lines[found.base_url]

    def simulated(self) -> Model:
        return Simulated()

    async def close(self) -> None:
        for line in self._lines.values():
            await line.client.close()
        for own in self._own.values():
            await asyncio.to_thread(own.close)

"""A server on a real port, its tokens signed with a key of the operator's, and a client from outside."""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.clients import Registrations
from tests.conftest import House, serving

STAMP = "2026-01-01T00:00:00.000000Z"


class Guest(NamedTuple):
    url: str
    client_id: str
    secret: str


def guest(house: House, name: str = "guest", scopes: str = "calculator:use files:read") -> Guest:
    client_id, secret = new_credentials(name)
    Registrations(house.runtime.engine).add(client_id, name, hashed(secret).hex(), scopes, STAMP)
    return Guest(house.url, client_id, secret)


@pytest.fixture
def signed(settings: Settings, tmp_path: Path) -> Generator[House]:
    """A server whose tokens are RS256."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path / "key.pem"
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(private.private_bytes(pem, pkcs8, plain))
    with serving(settings.model_copy(update={"signing_keys": str(file)})) as house:
        yield house

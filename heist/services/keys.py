"""The keys: everything that is signed here, and what verifies it."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from heist.errors import ConfigError

RSA_BITS = 2048


class Key(NamedTuple):
    """One key and its one algorithm; `jwk` is its public half (RFC 7517), None for a key that is shared."""

    kid: str
    algorithm: str
    signs: Any
    verifies: Any
    jwk: Mapping[str, Any] | None


class Keys:
    """The ring: the first key signs, each verifies. Without key files it is HS256 with keys that derive from the
    secret, and from the secret before it; without a secret, from a random one that lasts as long as the process."""

    def __init__(self, secret: str | None, before: str | None = None, files: Sequence[Path] = ()) -> None:
        """Raises `ConfigError` for a file that holds no private RSA or Ed25519 key, and for a secret before none."""
        if before and not secret:
            raise ConfigError("HEIST_SECRET_BEFORE: there is no HEIST_SECRET after it")
        kept = [one.encode() for one in (secret, before) if one]
        self._secrets = kept or [secrets.token_bytes(32)]
        ring = [_from_file(path) for path in files] or [_shared(key) for key in self.derived("access token, HS256")]
        self.first = ring[0]
        self.ring: Mapping[str, Key] = {key.kid: key for key in ring}

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HMAC-SHA-256 of it under the secret)."""
        return self.derived(purpose)[0]

    def derived(self, purpose: str) -> list[bytes]:
        """The same from each secret that still counts; the first is the one to use, the rest are to be accepted."""
        return [hmac.digest(secret, purpose.encode(), "sha256") for secret in self._secrets]

    def public(self) -> list[Mapping[str, Any]]:
        """The public halves as JWKs; a shared key has none and is never in it."""
        return [key.jwk for key in self.ring.values() if key.jwk is not None]


def _shared(key: bytes) -> Key:
    return Key(hashlib.sha256(key).hexdigest()[:16], "HS256", key, key, None)


def _from_file(path: Path) -> Key:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"HEIST_SIGNING_KEYS: {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"HEIST_SIGNING_KEYS: {path} is not a private key in PEM without a password") from None
    if isinstance(private, Ed25519PrivateKey):
        return _pair("EdDSA", private, OKPAlgorithm.to_jwk(private.public_key(), as_dict=True))
    if isinstance(private, RSAPrivateKey) and private.key_size >= RSA_BITS:
        return _pair("RS256", private, RSAAlgorithm.to_jwk(private.public_key(), as_dict=True))
    raise ConfigError(f"HEIST_SIGNING_KEYS: {path} is neither an Ed25519 key nor an RSA key of {RSA_BITS} bits or more")


def _pair(algorithm: str, private: Ed25519PrivateKey | RSAPrivateKey, jwk: Mapping[str, Any]) -> Key:
    public = private.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kid = hashlib.sha256(der).hexdigest()[:16]
    shown = {name: value for name, value in jwk.items() if name != "key_ops"}
    return Key(kid, algorithm, private, public, {**shown, "kid": kid, "alg": algorithm, "use": "sig"})

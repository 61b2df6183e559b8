"""Randomness by name: one seed, many independent streams, each the same on every machine."""

import hashlib
import random
import secrets


def number(seed: int, *name: object) -> int:
    """A 31-bit number that depends on the seed and the name alone (SHA-256); fits every model server's `seed`."""
    digest = hashlib.sha256("/".join(map(str, (seed, *name))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def stream(seed: int, *name: object) -> random.Random:
    """A generator of its own for one purpose: `stream(7, "order", 2)`."""
    return random.Random(number(seed, *name))


def by_chance(_seed: int, *_name: object) -> str:
    """Eight hexadecimal digits that nobody can foresee."""
    return secrets.token_hex(4)


def by_seed(seed: int, *name: object) -> str:
    """Eight hexadecimal digits that follow from the seed and the name."""
    return f"{number(seed, *name):08x}"

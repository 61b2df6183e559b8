"""The ring of keys: what signs, what verifies, and what is refused before anything is signed with it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from heist.errors import ConfigError
from heist.services.keys import Keys
from heist.settings import Settings
from tests.services.oauth import SITE, Door, opened

pytestmark = pytest.mark.mission("S1")

OLD, NEW = "the secret of the year before this one", "the secret of this year, which is long"
Private = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PKCS8 = serialization.PrivateFormat.PKCS8


def in_pem(key: object, how: serialization.PrivateFormat = PKCS8, password: bytes | None = None) -> bytes:
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, how, sealed)  # type: ignore[attr-defined]
    return pem


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    made = {"RS256": rsa.generate_private_key(65537, 2048), "EdDSA": ed25519.Ed25519PrivateKey.generate()}
    for name, key in made.items():
        (folder / f"{name}.pem").write_bytes(in_pem(key))
    (folder / "PKCS1.pem").write_bytes(in_pem(made["RS256"], serialization.PrivateFormat.TraditionalOpenSSL))
    return {path.stem: path for path in folder.iterdir()}


def test_keys_from_one_secret_are_the_same_keys() -> None:
    assert (Keys(NEW).first, Keys(NEW).ring) == (Keys(NEW).first, Keys(NEW).ring)
    assert Keys(NEW).first != Keys(OLD).first


def test_keys_without_a_secret_are_new_each_time() -> None:
    assert Keys(None).first.signs != Keys(None).first.signs
    assert Keys(None).derive("x") != Keys(None).derive("x")


def test_keys_for_two_purposes_differ() -> None:
    keys = Keys(NEW)
    assert len({keys.derive("one"), keys.derive("another"), keys.first.signs, NEW.encode()}) == 4
    assert len(keys.derive("one")) == 32


def test_a_key_id_says_nothing_of_its_key() -> None:
    key = Keys(NEW).first
    assert key.kid not in key.signs.hex()
    assert len(key.kid) == 16


def test_a_shared_key_is_never_shown() -> None:
    assert Keys(NEW, OLD).public() == []


def test_after_a_change_of_secret_the_new_one_signs_and_both_verify() -> None:
    keys = Keys(NEW, OLD)
    assert keys.first == Keys(NEW).first
    assert list(keys.ring) == [Keys(NEW).first.kid, Keys(OLD).first.kid]
    assert keys.derived("x") == [Keys(NEW).derive("x"), Keys(OLD).derive("x")]


def test_the_first_file_signs_and_each_verifies(files: dict[str, Path]) -> None:
    keys = Keys(NEW, OLD, [files["EdDSA"], files["RS256"]])
    assert [key.algorithm for key in keys.ring.values()] == ["EdDSA", "RS256"]
    assert keys.first.algorithm == "EdDSA"
    other_way_round = Keys(NEW, OLD, [files["RS256"], files["EdDSA"]])
    assert other_way_round.first.algorithm == "RS256"
    assert set(other_way_round.ring) == set(keys.ring)


def test_one_key_has_one_id_in_whichever_format_its_file_is(files: dict[str, Path]) -> None:
    assert Keys(None, None, [files["RS256"]]).first.kid == Keys(None, None, [files["PKCS1"]]).first.kid


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_what_is_published_verifies_what_was_signed_and_signs_nothing(files: dict[str, Path], algorithm: str) -> None:
    keys = Keys(NEW, None, [files[algorithm]])
    token = jwt.encode({"a": 1}, keys.first.signs, algorithm)
    [published] = keys.public()
    assert jwt.decode(token, jwt.PyJWK(dict(published)).key, [algorithm]) == {"a": 1}
    assert (published["kid"], published["alg"], published["use"]) == (keys.first.kid, algorithm, "sig")
    assert set(published) & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} == set()
    assert set(published) == {"kty", "kid", "alg", "use"} | ({"n", "e"} if algorithm == "RS256" else {"crv", "x"})


WRONG: dict[str, Callable[[Path], object]] = {
    "is not there": lambda path: None,
    "is a folder": lambda path: path.mkdir(),
    "is empty": lambda path: path.write_bytes(b""),
    "is a letter": lambda path: path.write_text("Dear bank,"),
    "is not text": lambda path: path.write_bytes(bytes(range(256))),
    "is cut off": lambda path: path.write_bytes(in_pem(ed25519.Ed25519PrivateKey.generate())[:60]),
    "has a password": lambda path: path.write_bytes(in_pem(ed25519.Ed25519PrivateKey.generate(), password=b"x")),
    "is public": lambda path: path.write_bytes(
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    ),
    "is RSA of 1024 bits": lambda path: path.write_bytes(in_pem(rsa.generate_private_key(65537, 1024))),
    "is ECDSA": lambda path: path.write_bytes(in_pem(ec.generate_private_key(ec.SECP256R1()))),
    "is DSA": lambda path: path.write_bytes(in_pem(dsa.generate_private_key(1024))),
    "is X25519": lambda path: path.write_bytes(in_pem(x25519.X25519PrivateKey.generate())),
    "is Ed448": lambda path: path.write_bytes(in_pem(ed448.Ed448PrivateKey.generate())),
    "is of a kind that nobody knows": lambda path: path.write_text(
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2V/BCIEIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr\n"
        "-----END PRIVATE KEY-----\n"
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_in_one_sentence_with_its_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "key.pem"
    WRONG[what](path)
    with pytest.raises(ConfigError) as refused:
        Keys(NEW, None, [path])
    assert str(refused.value).startswith(f"HEIST_SIGNING_KEYS: {path} ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < len(str(path)) + 110


def test_a_short_key_is_told_how_long_it_must_be(tmp_path: Path) -> None:
    (tmp_path / "short.pem").write_bytes(in_pem(rsa.generate_private_key(65537, 1024)))
    with pytest.raises(ConfigError, match="RSA key of 2048 bits or more"):
        Keys(NEW, None, [tmp_path / "short.pem"])


def test_a_second_file_that_is_wrong_is_refused_like_the_first(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pem cannot be read: No such file"):
        Keys(NEW, None, [files["EdDSA"], tmp_path / "none.pem"])


def test_the_program_ends_with_that_sentence(tmp_path: Path) -> None:
    environment = {"HEIST_SIGNING_KEYS": str(tmp_path / "none.pem"), "HEIST_LLM": "simulated", "HEIST_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "heist", "serve"],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"heist: HEIST_SIGNING_KEYS: {tmp_path}/none.pem cannot be read: No such file or directory\n"


def shown(door: Door) -> list[dict[str, str]]:
    keys: list[dict[str, str]] = door.http.get("/.well-known/jwks.json").json()["keys"]
    return keys


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_a_house_signs_with_its_file_and_publishes_what_verifies_it(
    files: dict[str, Path], tmp_path: Path, algorithm: str
) -> None:
    with opened(tmp_path, signing_keys=str(files[algorithm])) as door:
        token = door.token(door.outsider("calculator:use"))
        header = jwt.get_unverified_header(token)
        assert header == {"typ": "at+jwt", "alg": algorithm, "kid": shown(door)[0]["kid"]}
        about = door.http.get("/.well-known/oauth-authorization-server").json()
        assert about["jwks_uri"] == f"{SITE}/.well-known/jwks.json"
        jwt.decode(token, jwt.PyJWK(shown(door)[0]).key, [algorithm], issuer=about["issuer"], audience=SITE)
        assert door.use(token).status_code == 200


def test_changing_the_key_file_keeps_the_tokens_of_the_one_before(files: dict[str, Path], tmp_path: Path) -> None:
    with opened(tmp_path, signing_keys=str(files["RS256"])) as before:
        known = before.outsider("calculator:use")
        token = before.token(known)
    with opened(tmp_path, signing_keys=f"{files['EdDSA']},{files['RS256']}") as during:
        assert [key["alg"] for key in shown(during)] == ["EdDSA", "RS256"]
        assert during.use(token).status_code == 200
        newer = during.token(known)
        assert jwt.get_unverified_header(newer)["alg"] == "EdDSA"
    with opened(tmp_path, signing_keys=str(files["EdDSA"])) as after:
        assert (after.use(token).status_code, after.use(newer).status_code) == (401, 200)


def test_changing_the_secret_keeps_tokens_and_logins_until_the_one_before_is_dropped(tmp_path: Path) -> None:
    with opened(tmp_path, OLD) as before:
        token = before.token(before.outsider("calculator:use"))
        before.http.get("/login", params={"token": before.gate.token})
        [(name, value)] = before.http.cookies.items()
        login = {"Cookie": f"{name}={value}"}
        old_way_in = before.gate.token
    with opened(tmp_path, NEW, secret_before=OLD) as during:
        assert during.use(token).status_code == 200
        assert during.http.get("/api/sessions", headers=login).status_code == 200
        assert during.gate.token != old_way_in
        assert during.http.get("/login", params={"token": old_way_in}, follow_redirects=False).status_code == 401
    with opened(tmp_path, NEW) as after:
        assert after.use(token).status_code == 401
        assert after.http.get("/api/sessions", headers=login).status_code == 401


def test_the_files_are_named_in_one_setting_separated_by_commas() -> None:
    assert Settings(signing_keys=" a.pem, b/c.pem ,,").key_files == [Path("a.pem"), Path("b/c.pem")]
    assert Settings(signing_keys="").key_files == []

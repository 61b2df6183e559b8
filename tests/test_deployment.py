"""The image, the compose file and the wheel name what there is, and refuse what they must."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import yaml
from starlette.testclient import TestClient

from heist.app import create_app
from heist.errors import ConfigError
from heist.origins import places
from heist.settings import Settings, variable

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
EXAMPLE = (ROOT / ".env.example").read_text()
VARIABLES = {variable(*place) for place in places()}
USED = re.compile(r"\$\{([A-Z_]+)")

pytestmark = pytest.mark.mission("S23")


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, with its continued lines in one."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(None, 1)[1].strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_the_image_copies_and_installs_what_there_is() -> None:
    for copied in instructions("COPY"):
        if copied.startswith("--from"):
            continue
        *sources, _ = copied.split()
        assert all((ROOT / source).exists() for source in sources)
        kept = (ROOT / ".dockerignore").read_text().splitlines()
        assert all(f"!{source}" in kept for source in sources)
    [named] = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    extras = named.split(",")
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in pyproject for extra in extras)


def test_the_image_sets_settings_that_exist_and_does_not_run_as_root() -> None:
    named = set(re.findall(r"HEIST_\w+", DOCKERFILE))
    assert named <= VARIABLES
    assert "HEIST_SECRET=" not in DOCKERFILE
    [user] = instructions("USER")
    assert user.isdigit()
    assert int(user) > 0
    assert instructions("CMD") == ['["heist", "serve"]']
    assert instructions("EXPOSE") == ["8008"]
    assert str(Settings.model_fields["port"].default) == "8008"


def health_command(url: str) -> list[str]:
    """What the image asks itself, of a server at `url`."""
    [check] = instructions("HEALTHCHECK")
    command: list[str] = json.loads(check[check.index("[") :])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


def test_the_image_asks_for_a_path_that_exists(client: TestClient) -> None:
    [path] = re.findall(r"\{os\.environ\['HEIST_PORT'\]\}(/\w+)", DOCKERFILE.replace("\\", ""))
    assert client.get(path).status_code == 200


def test_the_compose_file_mounts_and_needs_what_it_has() -> None:
    for service in COMPOSE["services"].values():
        assert ("build" in service) != ("image" in service)
        for mounted in service.get("volumes", ()):
            assert mounted.partition(":")[0] in COMPOSE["volumes"]
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
            assert not service["depends_on"][needed]["required"]
            assert "healthcheck" in COMPOSE["services"][needed]
    assert COMPOSE["services"]["postgres"]["profiles"] == ["postgres"]
    assert COMPOSE["services"]["model"]["profiles"] == ["model"]


def test_the_compose_file_sets_settings_that_exist_and_ships_no_secret() -> None:
    heist = COMPOSE["services"]["heist"]
    assert set(heist["environment"]) <= VARIABLES
    assert heist["environment"]["HEIST_SECRET"].startswith("${HEIST_SECRET:?")
    assert heist["ports"][0]["target"] == 8008 == int(heist["environment"]["HEIST_PORT"])
    assert heist["ports"][0]["host_ip"] == "${PUBLISH_ADDRESS:-127.0.0.1}"
    assert heist["volumes"] == [f"data:{instructions('VOLUME')[0]}"]


def test_everything_that_the_compose_file_asks_for_is_explained_in_the_example() -> None:
    named = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, flags=re.MULTILINE))
    optional = {"HEIST_LLM_KEY", "HEIST_MODEL", "HEIST_HOSTS"}
    assert set(USED.findall((ROOT / "compose.yaml").read_text())) - optional <= named
    assert re.search(r"^HEIST_SECRET=$", EXAMPLE, flags=re.MULTILINE)
    assert {name for name in named if name.startswith("HEIST_")} <= VARIABLES
    page = (ROOT / "docs" / "deployment.md").read_text()
    assert all(f"`{name}`" in page for name in named | optional)


def inside(given: dict[str, str]) -> dict[str, str]:
    """The environment that the container has, when .env holds what is given."""
    told = COMPOSE["services"]["heist"]["environment"]
    return {
        name: re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: given.get(found[1], found[2] or ""), value)
        for name, value in told.items()
    }


def test_the_container_starts_with_a_secret_and_refuses_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEIST_DATABASE_URL", f"sqlite:///{tmp_path}/heist.db")
    given = inside({"HEIST_SECRET": "s" * 40})
    assert given.pop("HEIST_DATABASE_URL") == "sqlite:////data/heist.db"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with TestClient(create_app(), base_url="http://127.0.0.1:8008") as client:
        assert client.get("/ready").json()["status"] == "ready"
    monkeypatch.setenv("HEIST_SECRET", "")
    with pytest.raises(ConfigError, match=r"HEIST_HOST: '0\.0\.0\.0' can be reached from other machines; that needs"):
        create_app()


class Installed(NamedTuple):
    """The wheel in an environment of its own, and an empty folder."""

    heist: Path
    folder: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("heist-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    bin_ = folder / "venv" / "bin"
    subprocess.run([bin_ / "python", *pip[1:], "install", str(wheel)], check=True)
    empty = folder / "empty"
    empty.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEIST_", "COVERAGE", "PYTHON"))}
    return Installed(bin_ / "heist", empty, {**kept, "HEIST_LLM": "simulated", "HEIST_PORT": "0", "COLUMNS": "200"})


@pytest.fixture
def server(installed: Installed) -> Generator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [installed.heist, "serve"],
        cwd=installed.folder,
        env=installed.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if found := re.search(r"Log in: (http://\S+)", line):
            break
    else:
        raise AssertionError(said)
    yield process, found[1]
    process.kill()
    process.stdout.close()
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_plays_serves_and_ends_in_an_empty_folder(
    installed: Installed, server: tuple[subprocess.Popen[str], str]
) -> None:
    process, login = server
    url = login.partition("/login")[0]
    with httpx2.Client(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=True) as visitor:
        assert visitor.get("/ready").json()["status"] == "ready"
        assert "<title>heist</title>" in visitor.get(login).text
        assert visitor.get("/static/main.js").status_code == 200
        session_id = visitor.post("/api/sessions", json={"rounds": 1, "seed": 7}).json()["session_id"]
        deadline = time.monotonic() + 60
        while visitor.get(f"/api/sessions/{session_id}").json()["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    environment = {**os.environ, "HEIST_PORT": url.rsplit(":", 1)[1]}
    assert subprocess.run(health_command(url), env=environment, check=False).returncode == 0
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert subprocess.run(health_command(url), env=environment, capture_output=True, check=False).returncode != 0
    doctor = subprocess.run(
        [installed.heist, "doctor"], cwd=installed.folder, env=installed.environment, capture_output=True, text=True
    )
    assert (doctor.returncode, "is up to date" in doctor.stdout) == (0, True), doctor.stdout
    assert (installed.folder / "heist.db").is_file()

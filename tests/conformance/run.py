"""Runs what docs/conformance.md names against a server of its own, a line per step: `make conformance`."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.clients import Registrations
from tests.conformance.left_out import LEFT_OUT
from tests.conftest import SECRET, House, serving

HERE = Path(__file__).parent
WORK = HERE.parent.parent / ".cache" / "conformance"
NODE = "node@24.21.0"
NEWEST_NEEDED = 22
SCRIPTS = ("oauth.mjs", "mcp_client.mjs", "mcp_client_v1.mjs")
ERAS = ("legacy", "auto", "modern")
REVISIONS = ("2025-06-18", "2025-11-25", "2026-07-28", None)
"""Of the MCP specification; None adds the suite's scenarios for extensions."""
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
SECONDS = 45
EVERYTHING = (  # every scope
    "calculator:use files:read database:read session:read session:control detection:read analytics:read tools:admin "
    "tokens:introspect"
)
STAMP = "2026-01-01T00:00:00.000000Z"
Environment = Mapping[str, str]


class Outsider(NamedTuple):
    house: House
    client_id: str
    secret: str

    def token(self, path: str = "") -> str:
        form = {"grant_type": "client_credentials", "resource": self.house.url + path}
        answer = httpx2.post(f"{self.house.url}/oauth/token", data=form, auth=(self.client_id, self.secret))
        token: str = answer.raise_for_status().json()["access_token"]
        return token


class Stage(NamedTuple):
    """The server with its outsiders: a guest with two tools, and an operator who may do everything."""

    house: House
    guest: Outsider
    operator: Outsider

    def environment(self) -> Environment:
        """For scripts; the tokens in it are fresh."""
        return {
            "HEIST_SITE": self.house.url,
            "GUEST_ID": self.guest.client_id,
            "GUEST_SECRET": self.guest.secret,
            "GUEST_TOKEN": self.guest.token("/mcp"),
            "OPERATOR_TOKEN": self.operator.token(),
        }

    def cookie(self) -> str:
        with httpx2.Client(follow_redirects=True) as browser:
            browser.get(self.house.login).raise_for_status()
            return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def outsider(house: House, name: str, scopes: str) -> Outsider:
    client_id, secret = new_credentials(name)
    Registrations(house.runtime.engine).add(client_id, name, hashed(secret).hex(), scopes, STAMP)
    return Outsider(house, client_id, secret)


@contextmanager
def staged() -> Generator[Stage]:
    """A server that signs with Ed25519, over a database of its own."""
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = folder / "key.pem"
        key.write_bytes(Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, plain))
        settings = Settings(
            llm="simulated",
            database_url=f"sqlite:///{folder}/heist.db",
            secret=SecretStr(SECRET),
            signing_keys=str(key),
        )
        with serving(settings) as house:
            guest = outsider(house, "guest", "calculator:use files:read")
            yield Stage(house, guest, outsider(house, "operator", EVERYTHING))


def said(step: str, problem: str = "") -> bool:
    """Prints the step's line; answers whether all is well."""
    print(f"FAIL  {step}: {problem}" if problem else f"ok    {step}", flush=True)
    return not problem


def run(command: Sequence[str], environment: Environment, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, **environment}
    try:
        return subprocess.run(
            command, cwd=WORK, env=whole, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} has not ended within {seconds:g} s")


def installed() -> Environment:
    """Installs what package.json names, and a newer Node if this one is old; answers the PATH to use."""
    WORK.mkdir(parents=True, exist_ok=True)
    for file in (HERE / "package.json", *HERE.glob("*.mjs")):
        shutil.copy(file, WORK)
    path = os.environ["PATH"]
    if int(re.findall(r"\d+", run(["node", "--version"], {}).stdout)[0]) < NEWEST_NEEDED:
        npm(["--prefix", str(WORK / "node"), NODE], {})
        path = f"{WORK}/node/node_modules/.bin:{path}"
    npm([], {"PATH": path})
    # The tools keep what they remember in the home folder, which is none of theirs here.
    return {"PATH": f"{WORK}/node_modules/.bin:{path}", "HOME": str(WORK), "NO_COLOR": "1"}


def npm(arguments: Sequence[str], environment: Environment) -> None:
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    done = run(["npm", "install", *quiet, *arguments], environment, 600)
    if done.returncode:
        sys.exit(f"npm could not install what conformance needs: {done.stderr.strip()}")


def script(stage: Stage, tools: Environment, name: str) -> bool:
    done = run(["node", name], {**tools, **stage.environment()})
    lines = "".join(f"{name.removesuffix('.mjs')}: {line}\n" for line in done.stdout.splitlines())
    print(re.sub(r"(?m)^(\S+: )(ok    |FAIL  )", r"\2\1", lines), end="", flush=True)
    return done.returncode == 0 or said(name, done.stderr.strip()[-2000:] or f"exit code {done.returncode}")


def inspector(stage: Stage, tools: Environment, era: str) -> bool:
    token = stage.operator.token("/mcp")
    shared = ["mcp-inspector", "--cli", "--server-url", f"{stage.house.url}/mcp", "--transport", "http"]
    shared += ["--header", f"Authorization: Bearer {token}", "--protocol-era", era, "--format", "json"]
    listed = run([*shared, "--strict", "--method", "tools/list"], tools)
    call = ["--method", "tools/call", "--tool-name", "calculator", "--tool-args-json", '{"expression": "6 * 7"}']
    called = run([*shared, *call], tools)
    names, value = [], None
    if listed.returncode == 0:
        names = [tool["name"] for tool in json.loads(listed.stdout)["result"]["tools"]]
    if called.returncode == 0:
        value = json.loads(called.stdout)["result"]["structuredContent"]["value"]
    every = ["calculator", "database_query", "file_reader"]
    return all(
        [
            said(f"inspector {era}: tools/list --strict", "" if names == every else listed.stdout + listed.stderr),
            said(f"inspector {era}: tools/call", "" if value == 42 else called.stdout + called.stderr),
        ]
    )


class Findings(NamedTuple):
    """What the suite says: the scenarios that it ran, and the checks that failed, as scenario/check with the reason."""

    scenarios: set[str]
    failures: dict[str, str]


def suite(stage: Stage, tools: Environment, revision: str | None) -> Findings:
    """The MCP conformance suite at one revision of the specification."""
    findings = Findings(set(), {})
    options = ["--spec-version", revision] if revision else []
    preload = {"NODE_OPTIONS": f"--import={WORK}/bearer.mjs"}
    with tempfile.TemporaryDirectory() as folder:
        command = ["conformance", "server", "--url", f"{stage.house.url}/mcp", "--suite", "all", "-o", folder]
        done = run([*command, *options], {**tools, **stage.environment(), **preload})
        checks = {
            re.sub(r"^server-|-20\d\d-\d\d-\d\dT[\d-]+Z$", "", file.parent.name): json.loads(file.read_text())
            for file in Path(folder).glob("*/checks.json")
        }
    for mark, name in re.findall(r"(?m)^([✓✗]) ([\w-]+): \d+ passed", done.stdout):
        findings.scenarios.add(name)
        failed = [check for check in checks.get(name, []) if check["status"] == "FAILURE"]
        findings.failures.update({f"{name}/{one['id']}": one.get("errorMessage", "") for one in failed})
        if mark == "✗" and not failed:
            findings.failures[f"{name}/?"] = done.stdout[-500:]
    return findings


def conformance(stage: Stage, tools: Environment) -> bool:
    """The suite at each revision. What fails is either left out with a reason or a failure of ours, and what is left
    out must fail somewhere."""
    well, used = True, set()
    for revision in REVISIONS:
        found = suite(stage, tools, revision)
        shown = f"MCP conformance {revision or 'with extensions'}"
        well &= said(f"{shown}: {len(found.scenarios)} scenarios", "" if found.scenarios else "none has run")
        for check, why in found.failures.items():
            excused = {check, check.partition("/")[0]} & LEFT_OUT.keys()
            used |= excused
            if not excused:
                well = said(f"{shown}: {check}", why)
    for name in sorted(LEFT_OUT.keys() - used):
        well = said(f"MCP conformance: {name}", "it is left out, but it passes")
    return well and said(f"MCP conformance: all but the {len(LEFT_OUT)} that left_out.py names")


def schemathesis(stage: Stage, name: str, header: str, *options: str) -> bool:
    """Property tests of the HTTP API by its own description; the endless stream of events is left out."""
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{stage.house.url}/openapi.json"]
    command += ["--header", header, "--header", "Sec-Fetch-Site: same-origin", "--checks", CHECKS]
    command += ["--exclude-path", "/api/events", "--continue-on-failure", "--seed", "1", "--warnings", "off"]
    done = run([*command, *options], {"NO_COLOR": "1"})
    shown = re.search(r"Test cases:\s+(\d+) generated", done.stdout)
    problem = "" if done.returncode == 0 else f"\n{done.stdout}{done.stderr}"
    return said(f"schemathesis {name}: {shown[1] if shown else 'no'} test cases", problem)


def main() -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        sys.exit(
            "npm is missing: install Node.js 20 or newer, for the clients and suites that are written in JavaScript"
        )
    tools = installed()
    with staged() as stage:
        well = [script(stage, tools, name) for name in SCRIPTS]
        well += [inspector(stage, tools, era) for era in ERAS]
        well += [conformance(stage, tools)]
        by_token, by_cookie = f"Authorization: Bearer {stage.operator.token()}", f"Cookie: {stage.cookie()}"
        # A tool that was switched off answers 503, so switching comes last and on its own.
        rest = ("--exclude-operation-id-regex", "^off_", "--max-time", str(SECONDS))
        well += [
            schemathesis(stage, "with a token", by_token, *rest),
            schemathesis(stage, "with a cookie", by_cookie, *rest),
        ]
        well += [schemathesis(stage, "switches", by_cookie, "--include-path-regex", "^/admin/", "--max-time", "10")]
    if not all(well):
        sys.exit("conformance: something failed, see the lines with FAIL")
    print("conformance: all well")


if __name__ == "__main__":
    main()

"""A local model: llama.cpp's own HTTP server in a process of ours, which ends with us.

The server is part of the package xllamacpp. It runs in a child process, because a native library that fails takes its
process along, and because one that reckons would hold up the event loop. The child tells its address in one line, and
reads from us until there is nothing to read any more: our end, however it comes, is its end.
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from heist.errors import ConfigError, HeistError, ModelError, ModelUnreachable
from heist.llm import weights

START_SECONDS = 300.0
"""The weights may have to come from a slow disk."""
CACHE_MEGABYTES = 1024
"""llama.cpp itself would take 8 GB."""
PREFIX = "local:"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to serve. `context` is in tokens, for each of the `slots`, which is how many answers are given at once; port
    0 is a free one; `threads` None is what llama.cpp thinks best. Prompts that left their slot are kept in `cache`
    megabytes of memory."""

    gguf: Path
    name: str
    port: int = 0
    context: int = 8192
    slots: int = 2
    threads: int | None = None
    cache: int = CACHE_MEGABYTES


class Running:
    """A server that answers at `base_url`, until `close`."""

    def __init__(self, wanted: Wanted, process: "subprocess.Popen[str]", log: IO[str], root: str) -> None:
        self.name = wanted.name
        self.base_url = f"{root}/v1"
        self._wanted = wanted
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> HeistError:
        """Waits until the server ends by itself, which it never should; answers why it did."""
        self._process.wait()
        return _reason(self._wanted, self._process.returncode, self._log)

    def close(self) -> None:
        _end(self._process)
        self._log.close()

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_local(llm: str) -> bool:
    """Whether an address of HEIST_LLM means a server of our own: `local`, `local:NAME` or `local:FILE.gguf`."""
    return llm == "local" or (llm.startswith(PREFIX) and len(llm) > len(PREFIX))


def wanted(llm: str, slots: int | None = None) -> Wanted:
    """What such an address means; `local` alone is the best model that has been pulled. Raises `ConfigError`."""
    name = llm.removeprefix("local").removeprefix(":")
    found = of_file(Path(name)) if name.endswith(".gguf") else pulled(name or None)
    return replace(found, slots=slots or found.slots)


def of_file(gguf: Path) -> Wanted:
    return Wanted(gguf.expanduser(), gguf.stem)


def pulled(name: str | None = None) -> Wanted:
    """The model of that name, or the best that there is. Raises `ConfigError` when it has not been pulled."""
    kept = weights.folder()
    for entry in [weights.named(name)] if name else weights.CATALOGUE.values():
        if path := weights.present(entry, kept):
            return Wanted(path, entry.name)
    best = name or next(iter(weights.CATALOGUE))
    missing = f"{name} is not in {kept}" if name else f"no model is in {kept}"
    raise ConfigError(f"{missing}; `heist model pull {best}` fetches it")


def start(wanted: Wanted) -> Running:
    """Returns when the server answers. Raises `ConfigError` when it is not installed or the file is no model,
    `ModelUnreachable` when it does not come up; neither leaves a process behind."""
    _check(wanted)
    log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - it lives as long as the server
    command = [sys.executable, "-m", "heist.llm.local", json.dumps(asdict(wanted), default=str)]
    process = subprocess.Popen(  # noqa: S603 - our own Python, and this module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # a Ctrl-C in the terminal is for us alone
    )
    assert process.stdout is not None
    limit = threading.Timer(START_SECONDS, process.kill)
    limit.start()
    try:
        root = process.stdout.readline().strip()
    except BaseException:
        _end(process)
        log.close()
        raise
    finally:
        late = not limit.is_alive()
        limit.cancel()
    if root:
        return Running(wanted, process, log, root)
    _end(process)
    with log:
        if late:
            raise ModelUnreachable(f"llama.cpp did not load {wanted.gguf} within {START_SECONDS:.0f} seconds")
        raise _reason(wanted, process.returncode, log)


def _end(process: "subprocess.Popen[str]") -> None:
    """Ends the child as our own end would, and does not wait long for it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _check(wanted: Wanted) -> None:
    """What can be said before llama.cpp is asked, because it would say it worse, or not at all."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError(f"a local model needs xllamacpp; `{sys.executable} -m pip install xllamacpp` brings it")
    try:
        with wanted.gguf.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(f"{wanted.gguf} cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise ConfigError(f"{wanted.gguf} is no model file: a GGUF begins with b'GGUF', found {magic!r}")
    size, free = wanted.gguf.stat().st_size, available()
    if free is not None and free < size:
        have = f"{size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"
        raise ConfigError(f"{wanted.name} needs {have}; end something else, or take a smaller model")


def available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes of memory that can be had without swapping; None where the system does not tell."""
    try:
        told = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(told[1]) * 1024 if told else None


def _reason(wanted: Wanted, code: int, log: IO[str]) -> HeistError:
    """Why a server ended, from its exit status and from what it wrote."""
    log.seek(0)
    said = log.read()
    if "couldn't bind" in said:
        return ConfigError(f"cannot listen on port {wanted.port}: another program uses it, or it is not for every user")
    if code == -signal.SIGKILL or re.search(r"failed to allocate|insufficient memory|bad_alloc", said):
        room = f"{wanted.slots} times {wanted.context} tokens of context"
        return ModelUnreachable(f"there is not enough memory for {wanted.name} with {room}; take less of either")
    if code == -signal.SIGILL:
        return ModelUnreachable("llama.cpp, as xllamacpp brings it, does not run on this processor")
    if damage := re.search(r"error loading model: (.+)", said):
        return ConfigError(f"llama.cpp cannot load {wanted.gguf}: {damage[1]}")
    lines = [line for line in said.splitlines() if line.strip()]
    last = re.sub(r"^[\d.]+ E ", "", lines[-1]) if lines else "it said nothing"
    return ModelError(f"llama.cpp ended with status {code}: {last}")


def _serve(told: dict[str, Any]) -> None:
    """Runs in the child."""
    import xllamacpp  # type: ignore[import-untyped,import-not-found,unused-ignore]

    parameters = xllamacpp.CommonParams()
    parameters.model.path = told["gguf"]
    parameters.model_alias = {told["name"]}
    parameters.n_parallel = told["slots"]
    parameters.n_ctx = told["slots"] * told["context"]
    if told["threads"]:
        parameters.cpuparams.n_threads = told["threads"]
        parameters.cpuparams_batch.n_threads = told["threads"]
    parameters.port = told["port"]
    parameters.warmup = False
    parameters.verbosity = 1
    parameters.cache_ram_mib = told["cache"]
    parameters.fit_params = False  # else it tries for minutes to make a context fit that cannot
    # Nobody's pages may read what it answers, nor what its slots hold; the default lets every origin in.
    parameters.cors_origins = "http://127.0.0.1:1"
    parameters.ui = False
    parameters.endpoint_slots = False
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError:  # which says nothing; what it wrote before does
        sys.exit(1)
    print(server.listening_address, flush=True)  # noqa: T201 - what the parent waits for
    sys.stdin.read()
    os._exit(0)  # at once: its own way out waits for answers that nobody reads any more


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))

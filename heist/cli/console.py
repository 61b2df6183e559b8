"""Where the command line writes."""

from pathlib import Path

from rich.console import Console

from heist.errors import ConfigError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def check_new(option: str, path: Path) -> None:
    """A file that is there is not overwritten; into a pipe or a device anybody may write. Raises `ConfigError`."""
    if path.is_file():
        raise ConfigError(f"{option}: {path} is there already; name a new file")

"""The switches: the flags as they stand while the house is open."""

import logging
from typing import Literal

from pydantic import ValidationError

from heist.configfile import state
from heist.errors import ConfigError, SwitchedOff
from heist.settings import Flags, Settings, layer_file

log = logging.getLogger(__name__)
Feature = Literal["live_control", "commands", "detection", "judge", "blind_play"]
_SAID: dict[Feature, str] = {
    "live_control": "live control is",
    "commands": "commands are",
    "detection": "detection is",
    "judge": "the judge is",
    "blind_play": "blind play is",
}


class Switches:
    """The flags as they stand now: a layer's are read again when its file has changed. While that file is wrong they
    stay as they were, and `problem` says why."""

    def __init__(self, chosen: Settings) -> None:
        self._chosen = chosen
        self._flags = chosen.flags
        self._path = layer_file(chosen.env, chosen.config)
        self._seen = self._path and state(self._path)
        self.problem = ""

    @property
    def flags(self) -> Flags:
        if self._path is not None and (now := state(self._path)) != self._seen:
            self._seen = now
            self._read_again()
        return self._flags

    def _read_again(self) -> None:
        try:
            self._flags = Settings(env=self._chosen.env, config=self._chosen.config).flags
            self.problem = ""
        except (ConfigError, ValidationError) as error:
            self.problem = f"the flags stay as they were: {error}"
            log.warning(self.problem)

    def require(self, feature: Feature) -> None:
        """Raises `SwitchedOff` when the feature is off."""
        if not getattr(self.flags, feature):
            raise SwitchedOff(f"{_SAID[feature]} switched off in this house, by the flag {feature}")

"""What every model of a test has besides its answers."""

from collections.abc import Sequence

from heist.llm.model import Ability, Form, guess


class Stand:
    """A model that is always there, knows nothing of tokens, and takes native calls."""

    name = server = "stand-in"
    simulated = False
    warm = True
    ability = Ability("test")
    form: Form = "native"

    async def ready(self) -> None:
        """At any time."""

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        return [guess(text) for text in texts], True

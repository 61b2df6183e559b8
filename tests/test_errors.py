"""The tree of errors is the one that its docstring draws."""

import re

from heist import errors
from heist.errors import HeistError


def family(error: type[HeistError]) -> list[type[HeistError]]:
    return [error, *(grandchild for child in error.__subclasses__() for grandchild in family(child))]


def test_the_drawing_shows_every_error_with_its_status() -> None:
    drawn = dict(re.findall(r"(\w+) {2,}(\d{3})", errors.__doc__ or ""))
    assert drawn == {error.__name__: str(error.status) for error in family(HeistError)}


def test_the_drawing_shows_who_descends_from_whom() -> None:
    lines = re.findall(r"^ {4}([│ ]*)[├└]── (\w+)", errors.__doc__ or "", flags=re.MULTILINE)
    parent = {}
    path = ["HeistError"]
    for bars, name in lines:
        depth = len(bars) // 4 + 1
        parent[name] = path[depth - 1]
        path[depth:] = [name]
    assert parent == {error.__name__: error.__bases__[0].__name__ for error in family(HeistError)[1:]}

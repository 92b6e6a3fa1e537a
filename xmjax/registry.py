"""Named parts (embedders, objectives, evaluators, sources): adding one touches no file of the package."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from xmjax.errors import UserError

T = TypeVar("T")
Entered = TypeVar("Entered")


def suggest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not in ``known``: the nearest one, else the whole list."""
    known = sorted(map(str, known))
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


class Registry(Generic[T]):
    """A dictionary from name to class that explains itself when a name is unknown."""

    def __init__(self, what: str):
        self.what = what
        self.items: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Entered], Entered]:
        """Class decorator that enters a class under ``name``; a later one of the same name replaces it."""

        def enter(item: Entered) -> Entered:
            self.items[name] = item
            return item

        return enter

    def __contains__(self, name: str) -> bool:
        return name in self.items

    def __getitem__(self, name: str) -> Any:
        if name not in self.items:
            raise UserError(f"unknown {self.what} {name!r}: {suggest(name, self.items)}")
        return self.items[name]

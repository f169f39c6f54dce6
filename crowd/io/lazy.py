"""Lazy imports: names that are known at once, and imported when they are used.

torch takes longer to import than most commands take to answer a wrong option or `--help`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class LazyNames(Mapping):
    """A dictionary whose keys are known at once; a value is imported when it is looked up.

    `homes` gives for each name "module:attribute", or the module where the attribute has the name.
    """

    def __init__(self, homes: Mapping[str, str]):
        self.homes = dict(homes)

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self.homes[name].partition(":")
        return getattr(importlib.import_module(module), attribute or name)

    def __contains__(self, name: object) -> bool:
        return name in self.homes

    def __iter__(self) -> Iterator[str]:
        return iter(self.homes)

    def __len__(self) -> int:
        return len(self.homes)


def lazy_package(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose public names are imported when used.

    `homes` are as of `LazyNames`; no name may be that of a module of the package, which would take
    its place once it is imported.
    """
    names = LazyNames(homes)

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return names[name]

    return get, lambda: sorted({*vars(sys.modules[package]), *names})

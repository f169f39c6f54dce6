"""Lazy imports: names that are known at once, and imported when they are used.

torch takes longer to import than most commands take to answer a wrong option or `--help`.
"""

import importlib
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any


class LazyNames(UserDict):
    """A dictionary whose keys are known at once; a value is imported when it is looked up.

    It is made from "module:attribute" of each name, or the module where the attribute has the name.
    """

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self.data[name].partition(":")
        return getattr(importlib.import_module(module), attribute or name)


def lazy_package(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose public names are imported when used.

    `homes` are as for `LazyNames`; no name may be that of a module of the package, which would take
    its place once it is imported.
    """
    names = LazyNames(homes)

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return names[name]

    return get, lambda: sorted({*vars(sys.modules[package]), *names})

"""Public names that are imported at first use."""

import importlib
import sys
from types import ModuleType

import pytest

from crowd.io.lazy import LazyNames

PACKAGES = ["GS2D", "gst", "mgot"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_gives_its_public_names_whatever_was_imported_before(name):
    package = importlib.import_module(name)
    for public in package.__all__:
        assert public in dir(package)
        found = getattr(package, public)
        # A module of the same name would hide it as soon as anybody imports that.
        assert not isinstance(found, ModuleType)
        assert getattr(found, "__name__", public) == public
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'nobody'"):
        package.nobody  # noqa: B018


def test_names_are_known_before_their_values_are_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    names = LazyNames({"text": "this:s", "join": "posixpath", "missing": "crowd.io.lazy"})
    assert (list(names), "text" in names, "nobody" in names) == (["text", "join", "missing"], 1, 0)
    assert "this" not in sys.modules
    assert names["join"] is importlib.import_module("posixpath").join
    with pytest.raises(KeyError):
        names["nobody"]
    with pytest.raises(AttributeError):
        names["missing"]

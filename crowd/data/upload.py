"""A photo in memory, such as a browser sends, which is read as those on the disk are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple


class Upload(NamedTuple):
    """The name and the content of a photo's file; `crowd.data.images` takes it for a path."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """Ending of the name."""
        return Path(self.name).suffix

    def open(self, _mode: str) -> io.BytesIO:
        """Open the content, as `Path.open` does."""
        return io.BytesIO(self.content)

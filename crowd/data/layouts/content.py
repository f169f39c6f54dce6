"""Opening annotation files of any format, and saying whose they look like."""

from __future__ import annotations

import csv
import functools
import io
import os
from pathlib import Path
from xml.etree import ElementTree

from crowd.data.annotation_files import read_json, read_text
from crowd.data.layouts.annotation import parsing
from crowd.data.layouts.registry import LAYOUTS
from crowd.io.errors import InputError

_LOOKED_AT = 5


def load(path: Path, remedy: str):
    """Return what a file holds, by its ending.

    .json: the value; .csv: [(line, row), …]; .xml: the root element; others: the text.
    Raises `InputError` when it is not readable as that; XML may not declare a document type, by
    which a few lines can stand for any amount of memory.
    """
    if path.suffix == ".json":
        return read_json(path, remedy, (dict, list))
    text = read_text(path, remedy)
    if path.suffix == ".csv":
        rows = csv.reader(io.StringIO(text, newline=""))
        try:
            return [(rows.line_num, row) for row in rows if row]
        except csv.Error as error:
            raise InputError(f"{path}, line {rows.line_num} is not CSV: {remedy}") from error
    if path.suffix == ".xml":
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(
                f"{path} declares a document type, which no annotation needs: {remedy}"
            )
        try:
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError) as error:
            raise InputError(f"{path} is damaged or not XML: {remedy}") from error
    return text


def parse(path: Path, name: str):
    """Read one file as a layout's `reader` reads it.

    Returns:
        {photo's name: `Annotation`} for a table, an `Annotation` for a file of one photo.

    Raises:
        InputError: the file is missing, damaged, of another format (which is named), or speaks
            of a photo twice.
    """
    layout = LAYOUTS[name]
    reader = layout.reader
    content = load(path, reader.FORMAT)
    owner = _owner(path, content)
    if owner not in (None, name) and (LAYOUTS[owner].tool or not reader.recognise(content)):
        raise InputError(f"{path} looks like {LAYOUTS[owner].about}: use --layout {owner}")
    if reader.LACKS and not reader.recognise(content):
        raise InputError(f"{path} {reader.LACKS}: {_other_tool(content) or reader.FORMAT}")
    with parsing(path, name):
        if not layout.table:
            return reader.read(content, path)
        photos = {}
        for photo, annotation in reader.read(content, path):
            photo = str(Path(photo.replace("\\", "/")))
            if photo in photos:
                raise InputError(f"{path} speaks of '{photo}' twice: keep one of them")
            photos[photo] = annotation
        return photos


def _owner(path: Path, content) -> str | None:
    """Return the layout whose content this is, the tools' before the plain ones."""
    readers = [(name, one.reader) for name, one in LAYOUTS.items() if one.reader]
    for name, reader in reversed(readers):
        plain = name == "json"  # which any object may be
        if path.suffix in reader.SUFFIXES and not plain and reader.recognise(content):
            return name
    return None


def _other_tool(content) -> str:
    """What to do with a format that is known and not read."""
    if getattr(content, "tag", "") == "annotation":
        return "it looks like Pascal VOC: convert it to YOLO or COCO"
    return ""


def looks_like(path: Path) -> str | None:
    """Return the layout that a file looks like, or None when it cannot be read or told."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return _looks_like(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=256)
def _looks_like(path: Path, _modified: int, _size: int) -> str | None:
    try:
        return _owner(path, load(path, ""))
    except InputError:
        return None


def hint(folder: Path) -> str:
    """Say which layout the annotation files of a folder look like; empty where none does."""
    endings = {suffix for one in LAYOUTS.values() if one.reader for suffix in one.reader.SUFFIXES}
    files = [path for path in sorted(folder.glob("*")) if path.suffix in endings]
    for path in files[:_LOOKED_AT]:
        name = looks_like(path)
        if name:
            return f"{path.name} looks like {LAYOUTS[name].about}: use --layout {name}"
    return ""

"""Opening annotation files of any format, and saying whose they look like."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from crowd.data.layouts.annotation import Annotation, read_json
from crowd.data.layouts.registry import LAYOUTS
from crowd.io.errors import InputError
from crowd.io.files import read_text, until_changed

_LOOKED_AT = 5


def load(path: Path, remedy: str):
    """Return what a file holds, by its ending.

    .json: the value; .csv: [(line, row), …]; .xml: the root element; .mat: nothing, since its
    format reads it; others: the text.
    Raises `InputError` when it is not readable as that; XML may not declare a document type, by
    which a few lines can stand for any amount of memory.
    """
    if path.suffix == ".json":
        return read_json(path, remedy, (dict, list))
    if path.suffix == ".mat":
        return None
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
    """Read one file as a layout's format is read.

    Returns:
        {photo's name: `Annotation`} for a table, an `Annotation` for a file of one photo.

    Raises:
        InputError: the file is missing, damaged, of another format (which is named), or speaks
            of a photo twice.
    """
    layout = LAYOUTS[name]
    form = layout.format
    content = load(path, form.shape)
    owner = _owner(path, content)
    if owner not in (None, name) and (LAYOUTS[owner].tool or not form.recognise(content)):
        raise InputError(f"{path} looks like {LAYOUTS[owner].about}: use --layout {owner}")
    if form.lacks and not form.recognise(content):
        voc = getattr(content, "tag", "") == "annotation"
        remedy = "it looks like Pascal VOC: convert it to YOLO or COCO" if voc else form.shape
        raise InputError(f"{path} {form.lacks}: {remedy}")
    try:
        read = form.read(content, path)
        return _by_photo(read, path) if layout.table else read
    # What a structure raises that is damaged, or not as expected.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"{path} is not as {name} writes it ({reason}): export it again"
        ) from error


def _by_photo(pairs: Iterable[tuple[str, Annotation]], path: Path) -> dict[str, Annotation]:
    photos = {}
    for name, annotation in pairs:
        photo = str(Path(name.replace("\\", "/")))
        if photo in photos:
            raise InputError(f"{path} speaks of '{photo}' twice: keep one of them")
        photos[photo] = annotation
    return photos


def _owner(path: Path, content) -> str | None:
    """Return the layout whose content this is, the tools' before the plain ones."""
    for name, layout in reversed(LAYOUTS.items()):
        plain = name == "json"  # which any object may be
        if path.suffix in layout.format.suffixes and not plain and layout.format.recognise(content):
            return name
    return None


@until_changed(256)
def looks_like(path: Path) -> str | None:
    """Return the layout that a file looks like, or None when it cannot be read or told."""
    try:
        return _owner(path, load(path, ""))
    except InputError:
        return None


def hint(folder: Path) -> str:
    """Say which layout the annotation files of a folder look like; empty where none does."""
    endings = {suffix for one in LAYOUTS.values() for suffix in one.format.suffixes} - {".mat"}
    files = [path for path in sorted(folder.glob("*")) if path.suffix in endings]
    for path in files[:_LOOKED_AT]:
        name = looks_like(path)
        if name:
            return f"{path.name} looks like {LAYOUTS[name].about}: use --layout {name}"
    return ""

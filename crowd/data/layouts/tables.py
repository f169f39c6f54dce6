"""Annotation files of any format: opening them, and finding the one that speaks of a photo.

A table, one file for many photos, lies in the nearest folder that has one of the layout's: the
photo's own, or one of the three above, or `annotations/` in any of them. Photos are named by the
end of their path, from the bare file name to the path relative to that file; of a path from
elsewhere (absolute, `../`, a URL) only the file name counts. Names are only compared with photos
found on disk and never opened, so a file from elsewhere cannot reach outside the folder.
"""

import contextlib
import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from crowd.data.folders import composed
from crowd.data.layouts.annotation import Annotation, annotation_of, read_json
from crowd.data.layouts.json_files import UPLOAD
from crowd.data.layouts.registry import LAYOUTS
from crowd.data.layouts.text_files import header
from crowd.io.errors import InputError, raise_or_note
from crowd.io.files import read_text, until_changed

LEVELS = 4
MANY = 50  # more are files of a photo each
_LOOKED_AT = 5


class Table(NamedTuple):
    """What a file says of every photo, and its names by the file name that they end in."""

    photos: dict[str, Annotation]
    by_file: dict[str, list[str]]
    layout: str


def _load(path: Path, remedy: str):
    """Return what a file holds, by its ending; raise `InputError` when it is not readable as that.

    .json: the value; .csv: [(line, row), …]; .xml: the root element; .mat: nothing, since its
    format reads it; others: the text. XML may not declare a document type, by which a few lines
    can stand for any amount of memory.
    """
    ending = path.suffix.lower()
    if ending == ".json":
        return read_json(path, remedy)
    if ending == ".mat":
        return None
    text = read_text(path, remedy)
    try:
        if ending == ".csv":
            rows = csv.reader(io.StringIO(text, newline=""))
            # Spreadsheets leave rows of commas alone where something stood.
            return [(rows.line_num, row) for row in rows if any(map(str.strip, row))]
        if ending != ".xml":
            return text
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(
                f"{path} declares a document type, which no annotation needs: {remedy}"
            )
        return ElementTree.fromstring(text)
    except (csv.Error, ElementTree.ParseError, ValueError) as error:
        kind = ending[1:].upper()
        raise InputError(f"{path} is damaged or not {kind} ({error}): {remedy}") from error


def parse(path: Path, name: str):
    """Return a table's {photo's name: `Annotation`}, or the `Annotation` of a file of one photo.

    Raises `InputError` when the file is missing, damaged, of another format (which is named), or
    speaks of a photo twice.
    """
    layout = LAYOUTS[name]
    form = layout.format
    content = _load(path, form.shape)
    owner = _owner(path, content)
    own = form.recognise and form.recognise(content)
    if owner not in (None, name) and (LAYOUTS[owner].tool or not own):
        raise InputError(f"{path} {_looks(owner)}")
    ending = path.suffix.lower()
    if form.recognise and not own and ending != ".txt":  # a text's reader names the line
        voc = getattr(content, "tag", "") == "annotation"
        remedy = "it looks like Pascal VOC: convert it to YOLO or COCO" if voc else form.shape
        remedy = _separator(content) or remedy
        raise InputError(f"{path} is no {layout.about}: {remedy}")
    try:
        if not layout.table:
            return form.read(content, path)
        photos = {}
        for name_of_photo, heads, *size in form.read(content, path):
            photo = composed(str(Path(name_of_photo.replace("\\", "/"))))
            if photo in photos:
                raise InputError(f"{path} speaks of '{photo}' twice: keep one of them")
            photos[photo] = annotation_of(heads, f"{path}, '{photo}'", *size)
        return photos
    # What a structure raises that is damaged, or not as expected.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"{path} is not as {name} writes it ({reason}): export it again"
        ) from error


def _separator(content) -> str:
    """What to say of a table whose columns have no commas between them; "" of any other."""
    names = header(content)
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            return f"it has {name} between its columns: write 1,5 as 1.5, then put commas there"
    return ""


def _owner(path: Path, content) -> str | None:
    """Return the layout whose content this is, the tools' before the plain ones."""
    for name, layout in reversed(LAYOUTS.items()):
        form, plain = layout.format, name == "json"  # which any object may be
        known = form.recognise and not plain and path.suffix.lower() in form.suffixes
        if known and form.recognise(content):
            return name
    return None


@until_changed
def looks_like(path: Path) -> str | None:
    """Return the layout that a file looks like, or None when it cannot be read or told."""
    with contextlib.suppress(InputError):
        return _owner(path, _load(path, ""))
    return None


def _looks(name: str) -> str:
    return f"looks like {LAYOUTS[name].about}: use --layout {name}"


def hint(folder: Path) -> str:
    """Say which layout the annotation files of a folder look like; empty where none does."""
    endings = {suffix for one in LAYOUTS.values() for suffix in one.format.suffixes} - {".mat"}
    files = _tables_in(folder, tuple(endings))[:_LOOKED_AT]
    told = (f"{file.name} {_looks(name)}" for file in files if (name := looks_like(file)))
    return next(told, "")


def find_table(image_path: Path, layout: str) -> Path:
    """Return the annotation file that speaks of this photo.

    Raises `InputError` when there is none, or several and none of them is called `annotations`,
    is the only one of the layout, or the only one that names the photo.
    """
    image_path = Path(os.path.abspath(image_path))
    form = LAYOUTS[layout].format
    for folder in image_path.parents[:LEVELS]:
        inner = (folder, folder / "annotations")
        tables = [table for place in inner for table in _tables_in(place, form.suffixes)]
        named = [table for table in tables if table.stem == "annotations"]
        if tables:
            return _choose(named or tables, image_path, layout)
    raise InputError(
        f"{image_path} has no annotation file: put annotations{form.suffixes[0]} beside the "
        f"photos or in the folder above; {hint(image_path.parent) or form.shape}"
    )


def _choose(tables: list[Path], image_path: Path, layout: str) -> Path:
    """Return the table of this layout that names the photo; a single one whatever it holds."""
    if len(tables) == 1:
        return tables[0]
    looks = {table: looks_like(table) for table in tables if len(tables) <= MANY}
    known = [table for table in looks if looks[table] == layout]
    known = known or [table for table in looks if looks[table] is None]
    found = [table for table in known if len(known) == 1 or _names(table, image_path, layout)]
    if len(found) == 1:
        return found[0]
    suffixes = LAYOUTS[layout].format.suffixes
    remedy = f"call the one with the points annotations{suffixes[0]}, or put each beside its photos"
    raise InputError(
        f"{tables[0].parent} holds {len(tables)} {'/'.join(suffixes)} files: "
        + ((not known and hint(tables[0].parent)) or remedy)
    )


def _names(table: Path, image_path: Path, layout: str) -> bool:
    with contextlib.suppress(InputError):
        return name_in(read_table(table, layout), image_path) is not None
    return False


@until_changed
def _tables_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)


@until_changed
def read_table(path: Path, layout: str) -> Table:
    """Return what the file says of every photo; every photo asks again."""
    photos = parse(path, layout)
    by_file = defaultdict(list)
    for name in photos:
        file = name.rsplit("/", 1)[-1]
        for end in {file, UPLOAD.sub("", file) if layout == "labelstudio" else file}:
            by_file[end].append(name)
    return Table(photos, dict(by_file), layout)


def name_in(table: Table, image_path: Path) -> str | None:
    """Return the name under which the file speaks of the photo, or None.

    Raises `InputError` when several names of paths from elsewhere may be the photo's.
    """
    path = Path(composed(os.path.abspath(image_path)))
    if table.layout == "labelstudio":  # which changes an upload's name so
        other = re.sub(r"[^-\w.]", "", path.name.strip().replace(" ", "_"))
    else:  # CVAT names a video's frames without the ending that their files have
        other = path.stem
    path = path if path.name in table.by_file else path.with_name(other)
    names, path = table.by_file.get(path.name, []), path.as_posix()
    ends = [name for name in names if path.endswith(f"/{name}")]
    if ends:
        return max(ends, key=len)
    starts = [(name, name.split("/")[0]) for name in names]
    away = [name for name, start in starts if start in ("", "..") or ":" in start]
    if len(away) > 1:
        raise InputError(
            f"{image_path} may be '{away[0]}' or '{away[1]}' of its annotation file: write the "
            "path relative to that file"
        )
    return away[0] if away else None


def check_table(
    table_path: Path,
    layout: str,
    photos: list[Path],
    faults: list[str] | None,
    outside: Sequence[Path],
) -> list[Path]:
    """Return the photos that the file never names.

    Raises `InputError` when it names a photo that is not there or one of `outside`, which is left
    out (with a list `faults`, that is noted there), or two photos by one name.
    """
    table = read_table(table_path, layout)
    owners: dict[str | None, list[Path]] = defaultdict(list)
    for photo in photos:
        owners[name_in(table, photo)].append(photo)
    unnamed = owners.pop(None, [])
    for name, several in owners.items():
        if len(several) > 1:
            raise InputError(
                f"{table_path}: '{name}' may be {several[0]} or {several[1]}: write the path "
                "relative to the file"
            )
    beside = sorted({name_in(table, photo) for photo in outside} - {None, *owners})
    if beside:
        raise_or_note(
            f"{table_path} names '{beside[0]}', which lies outside the folders of the splits "
            f"({len(beside)} such names): put those photos into train/, or remove their rows",
            faults,
        )
    strays = sorted(set(table.photos) - set(owners) - set(beside))
    if strays:
        raise_or_note(
            f"{table_path} names '{strays[0]}', which is not among the {len(photos)} photos "
            f"({len(strays)} such names): correct the name or remove its rows",
            faults,
        )
    return unnamed

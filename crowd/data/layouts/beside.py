"""The annotation of one photo: where its file lies, and files that no photo belongs to."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote

from crowd.data.folders import composed, list_images
from crowd.data.layouts.registry import Layout, layout_of
from crowd.data.layouts.tables import find_table, looks_like
from crowd.io.files import until_changed


def annotation_path(image_path: str | os.PathLike, layout: str) -> Path:
    """Return where the photo's annotation belongs; only a table of points must be there.

    A file is the photo's too when its ending is in capitals, or its name is percent-encoded, as
    Label Studio exports it for YOLO, or composed otherwise in Unicode.
    """
    known = layout_of(layout)
    image_path = Path(os.path.abspath(image_path))
    if known.table:
        return find_table(image_path, layout)
    places = []
    for place in _places(image_path, known):
        if place.is_file():
            return place
        places.append(place)
    alike = (_files_in(place.parent).get(_key(place)) for place in places)
    return next(filter(None, alike), places[0])


def _places(image_path: Path, known: Layout) -> Iterator[Path]:
    """Yield where the photo's file may lie, first where it belongs."""
    around = image_path.parent
    for file in known.files:
        *folder, name = file.format(stem=image_path.stem).split("/")
        yield (called(around.parent, folder[-1]) if folder else around) / name
    images = [number for number, part in enumerate(around.parts) if part.lower() == "images"]
    for other in known.instead if images else ():
        before, after = Path(*around.parts[: images[-1]]), around.parts[images[-1] + 1 :]
        yield called(before, other).joinpath(*after, name)
    for other in known.instead:
        yield called(around, other) / name


def called(folder: Path, name: str) -> Path:
    """The folder of that name inside `folder`, compared without case, or where it would be."""
    exact = folder / name
    return exact if exact.is_dir() else _folders_in(folder).get(name, exact)


@until_changed
def _folders_in(folder: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(folder.glob("*")) if path.is_dir()}


@until_changed
def _files_in(folder: Path) -> dict[str, Path]:
    return {_key(path): path for path in sorted(folder.glob("*")) if path.is_file()}


def _key(path: Path) -> str:
    return composed(unquote(path.stem)) + path.suffix.lower()


def annotations_without_photo(root: Path, layout: str, photos: Sequence[Path]) -> list[Path]:
    """Return the annotation files, one a photo in most layouts, that no photo belongs to."""
    known = layout_of(layout)
    if known.table:
        return []
    if layout == "nwpu":
        photos = list_images(root / known.photos)
    owned = {annotation_path(photo, layout) for photo in photos}
    names = [file.rsplit("/")[-1].format(stem="*").lower() for file in known.files]
    folders = {one.parent for one in owned}
    for folder in root.glob("**/") if known.instead else ():
        if not {part.lower() for part in folder.relative_to(root).parts}.isdisjoint(known.instead):
            folders.add(folder)
    present = {
        path
        for folder in folders
        for path in folder.glob("*")
        if any(fnmatchcase(path.name.lower(), name) for name in names)
    }
    lonely = sorted(present - owned)
    return [path for path in lonely if not known.tool or looks_like(path) == layout]

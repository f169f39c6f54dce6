"""Points that cannot be what they are taken for: found before anything is written.

Nothing is guessed: what looks wrong becomes a question that names the switch of
`crowd.data.layouts.points` which answers it. A switch that was given is never doubted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from crowd.data.layouts.points import (
    ALL,
    ROW_COLUMN,
    WHICH,
    XY,
    PointConvention,
    Seen,
    look,
    named_labels,
)
from crowd.data.layouts.registry import FRACTION, PERCENT, PIXELS, STORED, UPRIGHT
from crowd.io.errors import InputError
from crowd.io.progress import map_photos

# Pixels that happen to lie where fractions or percents would are less likely than this.
_CHANCE = 1e-4
_SHOWN = 8

Question = tuple[Path, str]
"""A photo that shows what is in doubt, and the sentence that asks."""


@dataclass(frozen=True)
class Survey:
    """A data set's annotations, how they are meant, and what is in doubt about them."""

    layout: str
    convention: PointConvention
    photos: dict[Path, Seen]
    questions: list[Question] = field(default_factory=list)

    @property
    def seen(self) -> list[Seen]:
        """The photos that can be read and have points."""
        return [one for one in self.photos.values() if one.size[0] and len(one.annotation.points)]

    def require_answers(self) -> None:
        """Raise `InputError` with the first question."""
        if self.questions:
            raise InputError(self.questions[0][1])

    def notes(self) -> list[str]:
        """Say what was taken for granted, and which labels and boxes are heads."""
        notes = []
        labels = _labels(self.seen)
        if labels:
            boxes = sum(one.annotation.boxes for one in self.seen)
            places = f"{boxes} of {labels.total()} are centres of boxes" if boxes else "all points"
            every = ALL if len(labels) == 1 else "not said yet (--label)"
            heads = self.convention.label or every
            notes.append(f"labels: {_listed(labels)}; heads: {heads}; {places}")
        turned = sum(one.orientation != 1 for one in self.seen)
        picture = self.convention.picture(self.layout) if turned else None
        if picture and not self.convention.points:
            notes.append(
                f"{turned} photos are rotated by EXIF; their points are taken as those of the "
                f"photo {_named(picture)}, as {self.layout} has them (--points says otherwise)"
            )
        return notes


def survey(
    photos: Sequence[Path], layout: str, convention: PointConvention, workers: int = 0
) -> Survey:
    """Look at all annotations of a set, and at its photos' headers; see `Survey`.

    Photos and annotations that cannot be read are left to whoever reads them next.
    """
    looked = map_photos(partial(look, layout=layout), photos, workers, "looking")
    found = Survey(layout, convention, dict(zip(photos, looked, strict=True)))
    if found.seen:
        asked = [ask(found) for ask in (_label_question, _picture_question, _size_question)]
        found.questions.extend(filter(None, asked if any(asked) else [_place_question(found)]))
    return found


def _labels(seen: Sequence[Seen]) -> Counter[str]:
    return Counter(label for one in seen for label in one.annotation.labels)


def _listed(labels: Counter[str]) -> str:
    shown = [f"{label or '(none)'} {number}" for label, number in labels.most_common(_SHOWN)]
    more = f", and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(shown) + more


def _label_question(found: Survey) -> Question | None:
    labels, label = _labels(found.seen), found.convention.label
    if label is None and len(labels) > 1:
        name = next(name for name, _ in labels.most_common() if name)
        return found.seen[0].photo, (
            f"the set has several labels ({_listed(labels)}): say which are heads with --label, "
            f"such as --label '{name}', or --label {ALL}"
        )
    whole = label in (None, ALL, *labels)
    absent = [] if whole else [part for part in named_labels(label) if part not in labels]
    if absent:
        has = f"it has {_listed(labels)}" if labels else f"{found.layout} has none"
        sentence = f"there is no label '{absent[0]}' in the set ({has}): mend --label"
        return found.seen[0].photo, sentence
    return None


def _outside(seen: Sequence[Seen], how: PointConvention) -> tuple[int, int]:
    """Count the points of photos, and those outside, when they are meant so."""
    heads = ((one.heads(how), one.upright_size) for one in seen)
    inside = np.concatenate([((points >= 0) & (points <= size)).all(1) for points, size in heads])
    return len(inside), int((~inside).sum())


def _fits_better(total: int, outside: int, other: int) -> bool:
    """Whether points that lie outside lie inside when they are taken for something else."""
    return outside > max(1, 0.05 * total) and other <= 0.1 * outside


def _named(picture: str) -> str:
    return "as stored" if picture == STORED else UPRIGHT


def _picture_question(found: Survey) -> Question | None:
    turned = [one for one in found.seen if one.orientation != 1]
    if not turned or found.convention.points:
        return None
    picture = found.convention.picture(found.layout)
    ways = (replace(found.convention, points=one) for one in (UPRIGHT, STORED))
    (total, upright), (_, stored) = (_outside(turned, way) for way in ways)
    outside, other = (upright, stored) if picture == UPRIGHT else (stored, upright)
    if picture and not _fits_better(total, outside, other):
        return None
    why = f"{found.layout} does not say which picture their points are of"
    if picture:
        why = f"their points do not look like those of the photo {_named(picture)}"
    return turned[0].photo, (
        f"{len(turned)} photos with points are rotated by EXIF (the first: {turned[0].photo}, "
        f"orientation {turned[0].orientation}), and {why}; {total - upright} of {total} points lie "
        f"in the upright photos, {total - stored} in the photos as stored: {WHICH}"
    )


def _asks_for_units(found: Survey) -> bool:
    return not found.convention.point_units and found.convention.units(found.layout) == PIXELS


def _size_question(found: Survey) -> Question | None:
    """Compare the photo's size with the one that the annotation gives."""
    if not _asks_for_units(found):
        return None
    either = bool(found.convention.points)
    wrong = [
        one
        for one in found.seen
        if one.annotation.size not in (None, one.upright_size, one.size if either else None)
    ]
    if not wrong:
        return None
    one = wrong[0]
    sizes = (one.annotation.size, one.size, one.upright_size)
    given, stored, upright = ("{} x {}".format(*size) for size in sizes)
    if one.annotation.size == one.size:
        remedy = f"; {given} is its size as stored: say --points {STORED}, or {UPRIGHT}"
    else:
        remedy = f": bring back the photos that were annotated, or say --point-units {PIXELS}"
    return one.photo, (
        f"{len(wrong)} photos have another size than their annotations give (the first: "
        f"{one.photo} is {upright} upright, {stored} stored; its annotation says {given}){remedy}"
    )


def _place_question(found: Survey) -> Question | None:
    """Ask about units, then about the order, then whether the points lie in the photos at all."""
    first, units = found.seen[0].photo, _units_looked_like(found)
    if units:
        return first, (
            f"the points look like {units}s of the photos' sides, not like pixels (nearly all lie "
            f"within 0 and {1 if units == FRACTION else 100}; the first: {first}): say "
            f"--point-units {units}, or --point-units {PIXELS}"
        )
    total, outside = _outside(found.seen, found.convention)
    _, other = _outside(found.seen, replace(found.convention, point_order=ROW_COLUMN))
    if not found.convention.point_order and _fits_better(total, outside, other):
        return first, (
            f"the points look like (row, column): {outside} of {total} lie outside their photos "
            f"as (x, y), {other} the other way round: say --point-order {ROW_COLUMN}, or "
            f"--point-order {XY}"
        )
    if outside > total / 2:
        return first, (
            f"{outside} of {total} points lie outside their photos (the first photo: {first}): "
            "say what they are with --points, --point-units and --point-order"
        )
    return None


def _units_looked_like(found: Survey) -> str | None:
    """Return `fraction` or `percent` when pixels would hardly lie like that by chance."""
    if not _asks_for_units(found):
        return None
    points = [one.annotation.points for one in found.seen]
    together = np.concatenate(points)
    for limit, units in ((1, FRACTION), (100, PERCENT)):
        within = ((together >= 0) & (together <= limit)).all(1).mean()
        chance = sum(
            len(here) * np.log(np.minimum(1, limit / np.array(one.size))).sum()
            for here, one in zip(points, found.seen, strict=True)
        )
        whole = units == FRACTION and not (together % 1).any()
        if within >= 0.99 and chance < np.log(_CHANCE) and not whole:
            return units
    return None

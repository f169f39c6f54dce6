"""Damaging files: bits and bytes of any format, words and lines of texts."""

import re

import numpy as np

INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1)
WORDS = (
    *("nan", "inf", "-inf", "1e999", "-1", "0", "1e-320", "9" * 30, "9" * 5000, "0x10", "1_0"),
    *("", "abc", "null", "true", "[]", "{}", "[[1, 2]]", '"x"', "'", '"', ",", ":", "\\", "\t"),
    *("[" * 3000, "{" * 3000, '{"a":' * 2000, "- " * 2000, "\x00", "\x1b[2J", "\u2028", "\ufeff"),
    *("\U0001f600", "é", "../../etc/passwd", "/etc/passwd", "..", "~", "C:\\x", "\\ud800"),
    *("&a [x]", "*a", "<<: *a", "!!python/object/apply:os.getcwd []", "!!binary x", "2001-99-99"),
    *("!!timestamp x", "!!int x", "!!float x", "? [a]", "%YAML 9.9", "--- a", "| ", "> ", "@", "`"),
)


def mutate(content: bytes, rng: np.random.Generator, text: bool, other: bytes) -> bytes:
    """Return `content` damaged once or a few times; `other` is a second file of the format."""
    for _ in range(rng.geometric(0.6)):
        how = TEXT if text and rng.random() < 0.75 else BINARY
        content = how[rng.integers(len(how))](content, rng, other)
    return content


def _place(size: int, rng: np.random.Generator) -> int:
    """A place in a file; every other time in its first kilobytes, where structure is."""
    limit = min(size, 2048) if rng.random() < 0.5 else size
    return int(rng.integers(limit)) if limit else 0


def _span(size: int, rng: np.random.Generator) -> tuple[int, int]:
    first = _place(size, rng)
    return first, min(first + int(2 ** rng.uniform(0, 12)), size)


def flip_bits(content, rng, other):
    values = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        if values:
            values[_place(len(values), rng)] ^= 1 << int(rng.integers(8))
    return bytes(values)


def set_bytes(content, rng, other):
    values = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        if values:
            values[_place(len(values), rng)] = int(rng.integers(256))
    return bytes(values)


def set_integer(content, rng, other):
    """Write a number that lengths and offsets trip over, in 1 to 8 bytes of either order."""
    width, order = int(rng.choice([1, 2, 4, 8])), ("little", "big")[rng.integers(2)]
    number = INTEGERS[rng.integers(len(INTEGERS))] % 256**width
    first = _place(len(content), rng)
    return content[:first] + number.to_bytes(width, order) + content[first + width :]


def truncate(content, rng, other):
    return content[: int(rng.integers(len(content) + 1))]


def remove(content, rng, other):
    first, last = _span(len(content), rng)
    return content[:first] + content[last:]


def repeat(content, rng, other):
    first, last = _span(len(content), rng)
    return content[:last] + content[first:]


def insert(content, rng, other):
    first = _place(len(content), rng)
    return content[:first] + rng.bytes(int(rng.integers(1, 64))) + content[first:]


def blank(content, rng, other):
    first, last = _span(len(content), rng)
    return content[:first] + bytes([int(rng.choice([0, 255]))]) * (last - first) + content[last:]


def splice(content, rng, other):
    return content[: int(rng.integers(len(content) + 1))] + other[_place(len(other), rng) :]


def change_word(content, rng, other):
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content
    word = words[rng.integers(len(words))]
    return content[: word.start()] + _word(rng) + content[word.end() :]


def insert_word(content, rng, other):
    first = _place(len(content), rng)
    return content[:first] + _word(rng) + content[first:]


def change_lines(content, rng, other):
    """Remove, repeat or exchange a line."""
    lines = content.splitlines(keepends=True) or [b""]
    first, second = rng.integers(len(lines), size=2)
    action = rng.integers(3)
    if action == 0:
        del lines[first]
    elif action == 1:
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def change_encoding(content, rng, other):
    encoding = ("utf-16", "utf-8-sig", "latin-1", "utf-32")[rng.integers(4)]
    return content.decode("utf-8", "replace").encode(encoding, "replace")


def _word(rng: np.random.Generator) -> bytes:
    return WORDS[rng.integers(len(WORDS))].encode()


BINARY = (flip_bits, set_bytes, set_integer, truncate, remove, repeat, insert, blank, splice)
TEXT = (change_word, change_word, insert_word, change_lines, change_encoding)

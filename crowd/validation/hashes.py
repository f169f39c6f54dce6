"""Telling photos that are the same, and photos that look the same, by their hashes."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

SIDE = 16
# Of 256 bits. 80 real photos saved as JPEG of quality 30, or at a quarter of their size, differ
# from themselves in 2 bits (median), 98 % of them in at most 10; nearest photos of Beijing-BRT's
# fixed cameras, minutes apart, in 12 or more; photos of different scenes in about 120.
SIMILAR = 10


def pixel_hash(image: np.ndarray) -> str:
    """Hash of size and pixels, uint8 [H, W, 3]; however the file stores them."""
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
    digest.update(repr(image.shape).encode())
    return digest.hexdigest()


def difference_hash(image: np.ndarray) -> np.ndarray:
    """256 bits, uint64 [4]: where brightness rises from left to right on a grid of 16 rows.

    Resizing and compression leave it nearly as it is, since both leave the averages of cells.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    cells = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).view(np.uint64)


def differing_bits(look: np.ndarray, others: np.ndarray) -> np.ndarray:
    """In how many bits a hash, uint64 [4], differs from each of others, uint64 [m, 4]; int [m]."""
    return np.bitwise_count(look ^ others).sum(axis=1, dtype=np.int64)

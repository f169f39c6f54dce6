"""What an alignment did: figures for a file, a table to read, a picture of some pairs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mgot.arrays import PATCH_SIDE
from mgot.feature_files import Features
from mgot.features import read_patch
from mgot.selection import Alignment, Group
from mgot.transport import Transport

EXAMPLES = 8
ROUNDING = 1e-6


def summarise(alignment: Alignment, weights: np.ndarray) -> dict:
    """Return the figures of an alignment, ready for JSON.

    Args:
        alignment: what was selected.
        weights: as written to the file, float64 `[p]`.
    """
    summary = {
        "selected": len(alignment.source),
        "used": len(np.unique(alignment.source)),
        "available": alignment.available,
        "weights": {
            "min": float(weights.min()),
            "median": float(np.median(weights)),
            "mean": float(weights.mean()),
            "max": float(weights.max()),
            "std": float(weights.std()),
            "above_1": int((weights > 1 + ROUNDING).sum()),
        },
        "groups": [_figures(group) for group in alignment.groups],
    }
    if alignment.cluster_transport:
        summary["clusters"] = _convergence(alignment.cluster_transport)
    return summary


def _figures(group: Group) -> dict:
    clusters = {}
    if group.clusters:
        names = ("target_cluster", "source_cluster", "cluster_cost")
        clusters = dict(zip(names, (*group.clusters, group.cluster_cost), strict=True))
    return {
        **clusters,
        "target_patches": group.sizes[0],
        "source_patches": group.sizes[1],
        "selected": len(group.listed),
        "unmatched": group.sizes[0] - len(group.target),
        "mean_cost": float(group.cost.mean()) if len(group.cost) else None,
        **_convergence(group.transport),
    }


def _convergence(transport: Transport) -> dict:
    return {
        "residual": transport.residual,
        "iterations": transport.iterations,
        "converged": transport.converged,
    }


def describe(summary: dict) -> str:
    """Return the lines that a reader needs: matches, residuals, patches used, spread of weights.

    Args:
        summary: as `summarise` returns it; with the command's `arguments`, where there are any, it
            is said why all weights are 1.
    """
    columns = {
        "target_cluster": "target cluster",
        "source_cluster": "source cluster",
        "cluster_cost": "cost",
        "target_patches": "target patches",
        "source_patches": "source patches",
        "selected": "selected",
        "unmatched": "unmatched",
        "mean_cost": "mean cost",
        "residual": "residual",
    }
    groups = summary["groups"]
    columns = {name: title for name, title in columns.items() if name in groups[0]}
    lines = ["  ".join(columns.values())]
    for group in groups:
        cells = (_cell(group[name]).rjust(len(title)) for name, title in columns.items())
        lines.append("  ".join(cells))
    parts = {"clusters": summary.get("clusters")}
    parts |= {f"row {number}": group for number, group in enumerate(groups, start=1)}
    lines += [
        f"{name}: not converged after {part['iterations']} iterations, residual "
        f"{part['residual']:.2g} of the mass"
        for name, part in parts.items()
        if part and not part["converged"]
    ]
    spread = summary["weights"]
    lines.append(
        f"{summary['used']} of {summary['available']} source patches used, in "
        f"{summary['selected']} entries"
    )
    weights = (
        f"weights {spread['min']:.4f} to {spread['max']:.4f}, mean {spread['mean']:.4f}, standard "
        f"deviation {spread['std']:.4f}, {spread['above_1']} above 1"
    )
    lines.append(weights if spread["above_1"] else "all weights are 1" + _reason(summary))
    return "\n".join(lines)


def _reason(summary: dict) -> str:
    arguments = summary.get("arguments", {})
    if not arguments.get("weights", True):
        return " (--no-weights)"
    return ", as always at --mass 1" if arguments.get("mass") in (None, 1) else ""


def _cell(value: float | int | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def draw_examples(
    path: str | os.PathLike,
    alignment: Alignment,
    weights: np.ndarray,
    target: Features,
    source: Features,
    target_photos: Sequence[Path] | None = None,
    source_photos: Sequence[Path] | None = None,
) -> None:
    """Draw a few pairs, evenly spread over the clusters and, within each, from near to far.

    Args:
        path: picture to write.
        alignment: what was selected.
        weights: as written to the file, float64 `[p]`.
        target: features of the target patches.
        source: features of the source patches.
        target_photos: the patches of `target`; None: their predicted maps alone.
        source_photos: the patches of `source`; None: likewise.
    """
    from mgot.pictures import draw_matches

    group = np.repeat(range(len(alignment.groups)), [len(g.listed) for g in alignment.groups])
    order = np.lexsort([alignment.cost, group])
    spread = np.linspace(0, len(order) - 1, min(EXAMPLES, len(order)))
    picks = order[spread.round().astype(int)]
    sides = (
        ("target", target, alignment.target[picks], target_photos),
        ("source", source, alignment.source[picks], source_photos),
    )
    rows = {}
    for name, features, indices, photos in sides:
        if photos:
            rows[f"{name} patch"] = [read_patch(photos[index]) for index in indices]
        rows[f"{name} map"] = features.read(indices).reshape(-1, PATCH_SIDE, PATCH_SIDE)
    draw_matches(path, rows, weights[picks], alignment.cost[picks])

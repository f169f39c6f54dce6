"""GST 3: deformity elimination.

    python GS2D/process_gaussians.py --config GS2D/config_qnrf_gsplat.yml

A Gaussian whose axes differ by more than a factor of 1.5 has grown along something that is no head:
both of its axes become the short one. The file as it was fitted stays beside it as `*_bk.h5`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    # Run as a file, Python looks for packages in this folder instead of the one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from crowd.io.config import ArgumentParser, documented
from crowd.io.errors import InputError, command
from crowd.io.files import require_folder
from crowd.io.progress import progress
from GS2D.arguments import fit_parser, photo_folder
from GS2D.store import FOLDER, SUFFIX, backup_path, read_gaussians, read_report, write_gaussians

RATIO_LIMIT = 1.5


def eliminate_deformity(params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make every Gaussian [N, 8] round whose ratio of axes exceeds 1.5 (released code).

    One with a NaN scale stays as it is. Returns new ones, and which rows changed, bool [N].
    """
    short, long = params[:, 2:4].min(axis=1), params[:, 2:4].max(axis=1)
    deformed = long / short > RATIO_LIMIT
    params = params.copy()
    params[deformed, 2:4] = short[deformed, None]
    return params, deformed


def process_file(path: Path) -> tuple[int, int]:
    """Process one file in place; return how many Gaussians changed, and how many there are.

    A file without deformed Gaussians, as every processed one is, stays untouched, so that its
    original is only ever replaced by one that was fitted later.
    """
    params = read_gaussians(path)
    if (params[:, 2:4] <= 0).any():
        raise InputError(f"{path} holds scales that are not positive: remove it and fit again")
    processed, deformed = eliminate_deformity(params)
    if deformed.any():
        write_gaussians(backup_path(path), params, read_report(path))
        write_gaussians(path, processed, read_report(path))
    return int(deformed.sum()), len(params)


def build_parser() -> ArgumentParser:
    """Arguments of the command; of the fit's, which its files hold, it uses root_path alone."""
    parser = fit_parser(__doc__.split("\n", 1)[0])
    parser.use_only("root_path")
    parser.add_argument("--folder", type=str, help="the gs_params folder; default: by root_path")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Process all Gaussians of `--folder`, or of the photos that the YAML's root_path names."""
    (argv,) = documented(argv, "--config GS2D/config_qnrf_gsplat.yml")
    arguments = build_parser().read(argv)
    if arguments.folder is None and arguments.root_path is None:
        raise InputError("name the Gaussians with --folder, or their set with --config")
    folder = arguments.folder or photo_folder(arguments.root_path) / FOLDER
    folder = require_folder(folder, "fit Gaussians first with 2dgs_counting_1gs_gsplat.py")
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise InputError(f"{folder} holds no *{SUFFIX}: name the folder that the fit wrote")
    counts = [process_file(path) for path in progress(paths, "processing", "photo")]
    changed, total = (sum(column) for column in zip(*counts, strict=True))
    print(f"{changed} of {total} Gaussians in {len(paths)} photos became round")


if __name__ == "__main__":
    main()

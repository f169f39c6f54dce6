"""GST 2: fit one 2D Gaussian per annotated head to every training photo.

    python 2dgs_counting_1gs_gsplat.py --config GS2D/config_qnrf_gsplat.yml

Writes `gs_params/NAME_gs_params.h5` beside the photos, and `gs_params/loss_results.csv`. Run again,
it goes on where it stopped. Several GPUs: start it with torchrun, one process a GPU.
"""

import dataclasses
from collections.abc import Sequence

from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from GS2D.arguments import UNUSED_RELEASE_KEYS, fit_parser, photo_folder


def build_parser() -> ArgumentParser:
    """Arguments of the command."""
    return fit_parser(__doc__.split("\n", 1)[0])


def check(arguments) -> None:
    """Raise `InputError` for values that cannot be; say which keys have no effect."""
    if arguments.root_path is None:
        raise InputError("name the photos: --config GS2D/config_qnrf_gsplat.yml, or --root_path")
    if arguments.bk_num != 0:
        raise InputError(
            f"bk_num {arguments.bk_num}: background Gaussians do not exist, set it to 0"
        )
    if not arguments.gt_points:
        raise InputError("gt_points False: Gaussians stand on annotated heads, set it to True")
    unused = [key for key in UNUSED_RELEASE_KEYS if arguments[key] is not None]
    if unused:
        print(f"note: {', '.join(unused)} have no effect, in the released code as here")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    check(arguments)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.train.distributed import rank_and_size
    from GS2D.jobs import (
        FitSettings,
        begin,
        compile_kernels,
        fit_photos,
        is_finished,
        photos_to_fit,
        write_loss_table,
    )

    names = [field.name for field in dataclasses.fields(FitSettings)]
    settings = FitSettings(**{name: arguments[name] for name in names})
    folder = photo_folder(arguments.root_path)
    rank, size = rank_and_size()
    photos = photos_to_fit(folder)[rank::size]
    redo = arguments.overwrite
    # First what may fail: --overwrite makes all earlier fits void.
    compile_kernels(settings.backend)
    waiting = [photo for photo in photos if redo or not is_finished(photo, settings)]
    for photo in waiting if redo else ():
        begin(photo, settings)
    try:
        reports = fit_photos(waiting, settings, arguments.workers) if waiting else []
    finally:
        write_loss_table(folder)
    print(f"{len(waiting)} photos fitted, {len(photos) - len(waiting)} were finished")
    if reports and settings.stop_when_flat:
        mean = sum(report.iterations for report in reports) / len(reports)
        print(f"{mean:.0f} of {settings.num_epochs} iterations on average")


if __name__ == "__main__":
    main()

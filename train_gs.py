"""GST 4: train a counter with the transport kernel.

python train_gs.py --model-name vgg --dataset qnrf --pretrained imagenet
"""

import functools
import os

from crowd.count.evaluation import errors_of
from crowd.io.errors import command
from crowd.train.arguments import begin, cache_of, choose_workers, optimisation
from gst.arguments import (
    AUGMENTATION,
    EARLIER,
    build_parser,
    loss_options,
    loss_weights,
    read_arguments,
)
from gst.models import build_model
from gst.options import SCORES, TRANSPORT
from gst.photos import read_common_preprocessing


@command
def main(argv: list[str] | None = None) -> None:
    """Train, validate, keep the best."""
    arguments = read_arguments(build_parser(), argv)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from torch.utils.data import ConcatDataset

    from crowd.train.devices import place
    from crowd.train.distributed import all_gather, leave, synchronise_norms
    from crowd.train.loading import CountedPhotos, photo_loader
    from crowd.train.loop import Steps, fit
    from crowd.train.state import Training, describe
    from gst.counter import evaluate, say_if_collapsed
    from gst.dataset import CrowdCrops, crop_batches
    from gst.losses import batch_losses

    choose_workers(arguments)
    folder, device, resume = begin(arguments)
    folders = [arguments.data_dir, *arguments.also_data_dir]
    preprocessing = read_common_preprocessing(folders, arguments.tile)
    once = {os.path.realpath(one): one for one in folders}.values()
    val = [CountedPhotos(one, "val", preprocessing) for one in once]
    which = (folders, arguments.crop_size, arguments.seed, preprocessing, cache_of(arguments))
    augmentation = {name: arguments[name] for name in AUGMENTATION}
    crops = CrowdCrops(*which, fitted=arguments.loss == TRANSPORT, **augmentation)
    batches = crop_batches(crops, arguments.batch_size, arguments.workers, device.type == "cuda")
    photos = photo_loader(ConcatDataset(val), arguments.workers)

    pretrained = "none" if resume else arguments.pretrained
    name, options = arguments.model_name, arguments.model_options
    model = build_model(name, pretrained, **options)
    made = arguments, (name, options), preprocessing, crops.described(), val
    training = Training(
        place(synchronise_norms(model), device),
        describe(*made, may_change={"also_data_dir"}),
        **optimisation(arguments),
        score=SCORES[arguments.best_by],
    )
    if resume:
        training.resume(folder, EARLIER)

    def validate(training: Training) -> dict[str, float]:
        counts = all_gather(evaluate(training.evaluated, photos, preprocessing.tile, "val"))
        errors = errors_of(counts)
        say_if_collapsed(counts)
        training.keep_best(folder, errors)
        return errors

    amp, check = arguments.precision == "bfloat16", "check the photo's annotation and Gaussians"
    losses_of = functools.partial(batch_losses, device=device, amp=amp, **loss_options(arguments))
    steps = Steps(loss_weights(arguments), clip=arguments.clip_gradient, check=check)
    fit(training, batches, losses_of, validate, arguments, steps)
    leave()


if __name__ == "__main__":
    main()

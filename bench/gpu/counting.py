"""Stage g: photos of sizes that the card has not seen, and of sizes that it has."""

import torch

import gst
from bench.gpu.stages import Context
from crowd.train.devices import place
from gst.counter import predict_density

PHOTOS = 8
TILE = 2048


def count(context: Context) -> None:
    """(g) Seconds a photo, with cuDNN, which may compile kernels for every new size, and without.

    In the first run on a card 30 photos took the light counter half a minute, the first time.
    """
    lines = []
    for name in context.pick(("light", "vgg"), ("vgg_small",)):
        model = place(gst.build_model(name), context.device).eval()
        for number, with_it in enumerate((True, False)):
            # No two photos of one size.
            first, step = context.pick((640, 8), (64, 8))
            sides = [first + step * (2 * i + number) for i in range(context.pick(PHOTOS, 1))]
            photos = [torch.randn(3, first, side) for side in sides]

            def each(model=model, photos=photos, with_it=with_it) -> None:
                with torch.backends.cudnn.flags(enabled=with_it):
                    for photo in photos:
                        predict_density(model, photo, TILE)

            line = {"network": name, "cudnn": with_it, "photos": len(photos)}
            for when in ("new", "again"):
                line[f"seconds_a_photo_{when}"] = context.seconds(each, warm=False) / len(photos)
            lines.append(line)
            context.note(counting=lines)

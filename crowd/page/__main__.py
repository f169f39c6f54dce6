"""Count photos on a local page: drop one in the browser, see the people, draw a region.

    python -m crowd.page
    python -m crowd.page --save-path runs/gst_sha_light/best.pth --data-dir data/sha_processed

Without --save-path it counts with the trained counter in weights/. The page is served to this
machine alone, needs no network, and keeps photos in memory.
"""

import importlib
from collections.abc import Sequence

from crowd.count.command import about_counter, add_checkpoint, add_seeing
from crowd.io.config import ArgumentParser
from crowd.io.errors import command

# The methods stand above this package: its modules import neither, and this program, which serves
# both, finds by name what counts when it runs.
METHODS = {"gst": "gst.counter", "mgot": "mgot.evaluation"}


def known_models() -> dict[str, str]:
    """Names of models, each with the method that it belongs to."""
    return {
        model: method
        for method in METHODS
        for model in importlib.import_module(f"{method}.models").MODELS
    }


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m crowd.page", description=__doc__)
    add_checkpoint(parser, known_models(), importlib.import_module("gst.models").BOXED)
    add = parser.add_argument
    add("--data-dir", type=str, help="processed set: choose its photos, see their Gaussians")
    add("--port", type=int, default=8008, help="of the page's address; 0: one that is free")
    add_seeing(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Load the counter once, and serve the page."""
    arguments = build_parser().read(argv)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.count.counter import named_model, with_depth
    from crowd.page import server
    from crowd.train.checkpoints import load_checkpoint
    from crowd.train.devices import pick_device

    path, models = arguments.save_path, known_models()
    state = load_checkpoint(path)
    name = named_model(state, path, arguments.model_name, models, " or ".join(METHODS))
    method = importlib.import_module(METHODS[models[name]])
    counter = method.load_counter(path, pick_device(arguments.device), arguments.model_name)
    layers = None
    if models[name] == "gst":  # which alone fits Gaussians
        layers = importlib.import_module("gst.layers").processed_layers
        if arguments.data_dir is not None and counter.from_training:
            photos = importlib.import_module("gst.photos")
            photos.require_same(arguments.data_dir, counter.preprocessing)
    counter = with_depth(counter, arguments.depth)
    desk = server.Desk(method.annotator(counter), counter.preprocessing)
    app = server.build_app(desk, about_counter(path), arguments.data_dir, layers)
    server.serve(app, arguments.port)


if __name__ == "__main__":
    main()

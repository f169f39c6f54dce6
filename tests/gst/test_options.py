"""What a training is without options, and that every option makes another."""

import numpy as np

from crowd.io.files import write_array
from crowd.train.runs import read_log
from gst.arguments import build_parser, loss_weights
from gst.options import KernelOptions

PAPER = {"model_name": "vgg", "loss": "transport", "crop_size": 512, "batch_size": 1, "seed": 4073}
PAPER |= {"epochs": 1200, "lr": 5e-6, "weight_decay": 1e-5, "scale_range": [0.75, 1.25]}
PAPER |= {"validate_from": 600, "validate_every": 5, "smallest_share": 0.3, "tile": 512}
OPTIONS = """
--scale-range 1 1
--colour-jitter 0.5
--smallest-share 0
--tile 64
--clip-gradient 1e-3
--cut-off 1
--no-use-background
--block-counts 4
--block-counts 8
--block-counts 4 --clip-boxes
--loss dm_count
--loss dm_count --ot-weight 0
""".splitlines()


def test_without_options_a_training_is_the_paper_s():
    arguments = build_parser().read(["--data-dir", "d"])
    assert {name: arguments[name] for name in PAPER} == PAPER
    assert KernelOptions() == KernelOptions(0.015, 3.0, 1.0, 20.0, 1.0, True)
    weights = {"ot": 0.1, "tv": 0.01, "attention_variance": 0.1, "block_counts": 0}
    assert loss_weights(arguments) == weights


def test_every_option_makes_another_training(write_set, train):
    data, trainings = write_set(), {}
    for file in (data / "train").glob("*.npy"):
        write_array(file, np.load(file) * (1, 1, 2))  # boxes that reach beyond the photo
    for number, options in enumerate(OPTIONS):
        run = train(data, str(number), "--epochs", "1", *options.split())
        trainings[read_log(run / "log.jsonl")[-1]["val_rmse"]] = options
    assert [*trainings.values()] == OPTIONS

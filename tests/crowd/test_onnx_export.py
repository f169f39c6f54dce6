"""Both papers' counters as ONNX files: the same output, what the file says, bad input."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import gst.export
import gst.models
import mgot.export
import mgot.models
from crowd.count.counter import Counter
from crowd.count.export import export_counter
from crowd.data.network_input import Preprocessing
from crowd.train.checkpoints import save_checkpoint


def write_weights(path, models, name):
    torch.manual_seed(0)
    model = models.build_model(name).eval()
    save_checkpoint(path, **model.state_dict())
    return model


@pytest.mark.parametrize(
    ("module", "models", "name", "any_size"),
    [
        (gst.export, gst.models, "vgg", True),
        (gst.export, gst.models, "vgg_small", True),
        (gst.export, gst.models, "light", True),
        (gst.export, gst.models, "vgg_trans", False),
        (mgot.export, mgot.models, "hrnet_small", True),
        # Its layers at a quarter of its width: the whole network takes a minute.
        (mgot.export, mgot.models, "hrnet_w48", True),
    ],
)
def test_onnxruntime_puts_out_what_torch_does(
    module, models, name, any_size, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("mgot.models.hrnet.ARCHITECTURE", "hrnet_w18_small")
    model = write_weights(tmp_path / "weights.pth", models, name)
    options = ["--save-path", str(tmp_path / "weights.pth"), "--model-name", name]
    file = tmp_path / "model.onnx"
    module.main([*options, "--output", str(file), "--size", "80x64"])
    assert ("any size" if any_size else "80 x 64 pixels alone") in capsys.readouterr().out
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for height, width in [(64, 80)] + ([(96, 57)] if any_size else []):
        photo = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            expected = model(photo).numpy()
        found = session.run(None, {"photo": photo.numpy()})[0]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    metadata = {prop.key: prop.value for prop in onnx.load(file).metadata_props}
    assert metadata["model"] == name
    assert json.loads(metadata["preprocessing"])["mean"] == [0.485, 0.456, 0.406]


def test_bad_exports_are_one_sentence(tmp_path, failure):
    write_weights(tmp_path / "weights.pth", gst.models, "vgg_small")
    output = "--output", tmp_path / "x.onnx"
    good = "--save-path", tmp_path / "weights.pth"
    for options, words in (
        (good, "--model-name"),
        ((*good, "--model-name", "vgg_small", "--size", "5x5"), "--size 5x5"),
        (("--save-path", tmp_path / "none.pth"), "none.pth"),
    ):
        assert words in failure(gst.export.main, *options, *output)
        assert not (tmp_path / "x.onnx").exists()


def test_a_file_that_says_something_else_is_not_written(tmp_path):
    class Random(torch.nn.Module):
        """Tracing keeps what was drawn the first time."""

        def forward(self, photo):
            return photo[:, :1] * float(torch.rand(()))

    counter = Counter(Random(), "random", Preprocessing(), None, {})
    with pytest.raises(Exception, match="differ by"):
        export_counter(counter, tmp_path / "x.onnx", (32, 32), "y", any_size=True)
    assert list(tmp_path.iterdir()) == []

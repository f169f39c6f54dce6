"""GST: 2D Gaussians Spatial Transport for point-supervised density regression.

Shang & Hong, AAAI 2026, arXiv 2511.14477. `transport_kernel` and `transport_loss` are the paper's
transport plan and loss, `TransportLoss` is both as a torch module for code of one's own;
`build_model` gives the networks that are trained with them.
"""

from gst.kernel import transport_kernel
from gst.loss import TransportLoss, transport_loss

__all__ = ["TransportLoss", "build_model", "transport_kernel", "transport_loss"]


def __getattr__(name: str):
    """Import the models, and with them torchvision and timm, only when one is built."""
    if name == "build_model":
        from gst.models import build_model

        return build_model
    raise AttributeError(f"module 'gst' has no attribute '{name}'")

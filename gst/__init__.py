"""GST: 2D Gaussians Spatial Transport for point-supervised density regression.

Shang & Hong, AAAI 2026, arXiv 2511.14477. `transport_kernel` and `transport_loss` are the paper's
transport plan and loss, `TransportLoss` is both as a torch module for code of one's own;
`build_model` gives the networks that are trained with them.
"""

from typing import TYPE_CHECKING

from crowd.io.lazy import lazy_package

if TYPE_CHECKING:
    from gst.kernel import transport_kernel
    from gst.loss import TransportLoss, transport_loss
    from gst.models import build_model

__all__ = ["TransportLoss", "build_model", "transport_kernel", "transport_loss"]
__getattr__, __dir__ = lazy_package(
    __name__,
    {
        "TransportLoss": "gst.loss",
        "build_model": "gst.models",
        "transport_kernel": "gst.kernel",
        "transport_loss": "gst.loss",
    },
)

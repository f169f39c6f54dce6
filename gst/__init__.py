"""GST: 2D Gaussians Spatial Transport for point-supervised density regression.

Shang & Hong, AAAI 2026, arXiv 2511.14477. `transport_kernel` and `transport_loss` are the paper's
transport plan and loss; `build_model` gives the networks that are trained with them.
"""

from gst.kernel import transport_kernel
from gst.loss import transport_loss
from gst.models import build_model

__all__ = ["build_model", "transport_kernel", "transport_loss"]

"""Synthetic crowds with exact head centres: `python -m crowd.synthetic --root …`.

Photos to learn from, test with and show when no licence allows a real one.
"""

from typing import TYPE_CHECKING

from crowd.io.lazy import lazy_package

if TYPE_CHECKING:
    from crowd.synthetic.dataset import LAYOUTS, make_dataset
    from crowd.synthetic.domains import DOMAINS
    from crowd.synthetic.scene import VISIBLE_SHARE, Scene, render_scene

__all__ = ["DOMAINS", "LAYOUTS", "VISIBLE_SHARE", "Scene", "make_dataset", "render_scene"]
__getattr__, __dir__ = lazy_package(
    __name__,
    {
        "DOMAINS": "crowd.synthetic.domains",
        "LAYOUTS": "crowd.synthetic.dataset",
        "VISIBLE_SHARE": "crowd.synthetic.scene",
        "Scene": "crowd.synthetic.scene",
        "make_dataset": "crowd.synthetic.dataset",
        "render_scene": "crowd.synthetic.scene",
    },
)

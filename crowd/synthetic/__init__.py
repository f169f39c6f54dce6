"""Synthetic crowds with exact head centres: `python -m crowd.synthetic --root …`.

Photos to learn from, test with and show when no licence allows a real one.
"""

from crowd.synthetic.dataset import LAYOUTS, make_dataset
from crowd.synthetic.domains import DOMAINS
from crowd.synthetic.scene import VISIBLE_SHARE, Scene, render_scene

__all__ = ["DOMAINS", "LAYOUTS", "VISIBLE_SHARE", "Scene", "make_dataset", "render_scene"]

"""Photos and points on disk: layouts, preprocessing, splits, the network's input."""

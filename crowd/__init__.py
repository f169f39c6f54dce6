"""The shared floor: annotations, metrics, files, configuration, checkpoints, pictures, scenes."""

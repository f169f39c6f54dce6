"""Training: the loop, its state and resume, loading, several processes, checkpoints."""

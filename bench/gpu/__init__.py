"""Everything that wants a GPU, measured by one command: see docs/GPU.md."""

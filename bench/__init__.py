"""Benchmarks: `python -m bench` measures, prints and writes `bench/results/NAME.json`."""

"""Trained counters: counting photos, folders and video; errors; ONNX export."""

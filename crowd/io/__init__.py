"""Errors, files, settings, progress, worker processes."""

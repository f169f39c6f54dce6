"""Drawing, overlays, small picture files."""

"""Pixels from image files and back: open, source, colour, metadata, transparency, save."""

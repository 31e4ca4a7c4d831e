"""Measuring the codec: the demonstration, times, and rate-distortion over a folder of images."""

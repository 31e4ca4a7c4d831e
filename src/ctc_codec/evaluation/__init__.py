"""Measuring the codec beside others: rate, distortion, time, memory. Needs the extra ``eval``."""

"""Colour rotation and wavelet: pixels to coefficients and back, and the integer inverse that contexts see."""

"""Packages that are not to be had for an emulated processor."""

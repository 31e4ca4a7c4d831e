"""Floats after the coder: conditional means (CDR), the synthesis network, projection."""

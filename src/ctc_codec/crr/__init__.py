"""Context-based rate reduction: what is known so far tells each element's density, in integers alone."""

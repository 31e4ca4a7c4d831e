"""Balanced-ternary planes of the latent: what is known of each element, and in which order more is told."""

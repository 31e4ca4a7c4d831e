"""Whether golden files decode to the same latents under every setting: ``make exactness``."""

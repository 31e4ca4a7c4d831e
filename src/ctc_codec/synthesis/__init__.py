"""From what is known of the latent to pixels: conditional means (CDR), the synthesis network, projection."""

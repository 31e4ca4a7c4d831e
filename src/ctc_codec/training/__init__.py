"""Training of the codec's networks. Needs torch, numpy, pillow, safetensors and click only."""

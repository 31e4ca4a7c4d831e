"""Training of the codec's networks, and freezing them to a weights file. Needs torch, and onnx to freeze."""

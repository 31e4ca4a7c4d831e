"""``ctc train`` where only torch, numpy, Pillow and click are installed: python -m ctc_codec.training."""

from .command import train

train(prog_name="python -m ctc_codec.training")

"""torchrun --nproc-per-node=K -m -- ctc_codec.training FOLDER|TAR... --run RUN --minutes N

Without ``--`` torchrun takes ``--run`` and ``--start`` for abbreviations of its own options.
"""

from .command import train

train(prog_name="python -m ctc_codec.training")

"""A decoder of .ctc files up to the latent, written from FORMAT.md: Python integers and the standard library.

It shares no code with the package and is slow and simple on purpose: the proof of what the format is, and
the place to look when FORMAT.md is too short. From the folder ``tests``:

    python -m reference FILE.ctc WEIGHTS.safetensors

Modules, in the order of FORMAT.md: ``container`` (sections 1, 2 and 11: header, check sums, extras),
``coder`` (3: range coder, prefixes), ``state`` (4: elements), ``latent`` (5: code word), ``density`` (6:
frequencies, classes), ``look`` (7 and 8: context, inputs, networks) and ``weights`` (10).
"""

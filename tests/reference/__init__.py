"""A decoder of .ctc files up to the latent, written from FORMAT.md: Python integers and the standard library.

It shares no code with the package and is slow and simple on purpose: the proof of what the format is, and
the place to look when FORMAT.md is too short. From the folder ``tests``:

    python -m reference FILE.ctc WEIGHTS.safetensors

Modules, in the order of FORMAT.md: ``container`` (sections 1, 2 and 11: header, check sums, extras),
``coder`` (3: range coder, prefixes), ``network`` (6: integer layers, entropy parameters), ``planes`` (7:
trees and orders), ``context`` (8), ``weights`` (10) and ``latent``, which puts them together.
"""

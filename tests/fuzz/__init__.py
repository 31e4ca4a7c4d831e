"""Fuzzing: every surface that takes bytes from strangers, held against what is promised of it.

A surface is a module here with one ``SURFACE``: how to make seeds, how to change them with the file's own
structure in mind, and a check that raises for whatever must not be. ``explore`` runs a surface by a seeded
mutator in plain Python (the tests do), ``guided`` under atheris, which follows coverage (``make fuzz``).

``ctc_files`` takes files apart and puts them together with right check sums, ``hostile`` codes what no
encoder would, ``seeds`` writes the corpus that all begins with. Inputs that ever failed are in
``regressions/`` and are run by the tests.
"""

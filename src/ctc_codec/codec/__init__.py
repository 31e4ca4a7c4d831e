"""The codec as the sequence of its parts, with one frozen model.

    encode: pixels -> colour, wavelet -> [ low band | look (CRR) -> slice -> trits ] per plane -> range coder
            -> file
    decode: file -> range coder -> the same loop -> means (CDR) -> inverse wavelet -> synthesis ->
            projection -> pixels

``encoder`` and ``decoder`` are the two ends, ``walk`` is the loop of both, ``guide`` has an encoder's
decisions in it, ``picture`` the decoder's float side; ``model`` is the weights file, ``options`` are the
records of options, ``verify`` tells whether an encoder wrote a code word, ``processes`` counts cores.
"""

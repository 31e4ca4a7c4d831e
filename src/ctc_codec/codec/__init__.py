"""The codec as the sequence of its parts, with one frozen model.

    encode: pixels -> colour, wavelet -> [ low band | look (CRR) -> slice -> trits ] per plane -> range coder
            -> file
    decode: file -> range coder -> the same loop -> means (CDR) -> inverse wavelet -> synthesis ->
            projection -> pixels

``encoder`` and ``decoder`` are the two ends, ``walk`` is the loop of both, ``guide`` what an encoder decides
in it, ``picture`` the decoder's float side, ``model`` the weights, ``options`` what can be asked for.
"""

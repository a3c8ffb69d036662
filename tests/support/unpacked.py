"""What a page carries packed, read by Python's own base 85."""

import base64
import gzip

from reports.packed_text import DIGITS

# The digits of `base64.b85encode`, in their order (RFC 1924's).
PYTHONS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def unpack_text(letters: str) -> str:
    """The text that `pack_text` packed."""
    return gzip.decompress(
        base64.b85decode(letters.translate(str.maketrans(DIGITS, PYTHONS)))
    ).decode()

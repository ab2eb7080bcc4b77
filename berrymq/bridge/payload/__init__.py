"""What a message carries, as JSON: ``[args]`` and ``{kwargs}``.

JSON values cross as they are. Everything else becomes an object with the key ``$type``, which the type
registry turns back into a value on the other side; a dictionary that has such a key of its own, or keys
that are not strings, crosses as a list of pairs. Nothing on the wire ever names a class to import: a type
crosses only if both sides registered it.
"""

from . import standard
from .advice import ApartError
from .binary import Binary, Form, Replaced
from .decoding import TYPE_MARK, decode_payload, decode_values
from .encoding import MAX_DEPTH, encode_message, encode_values
from .opaque import Opaque
from .registry import register_type
from .sampled import rows_in

__all__ = [
    "MAX_DEPTH",
    "TYPE_MARK",
    "ApartError",
    "Binary",
    "Form",
    "Opaque",
    "Replaced",
    "decode_payload",
    "decode_values",
    "encode_message",
    "encode_values",
    "register_type",
    "rows_in",
]

standard.register()

"""What a message carries, as JSON: ``[args, kwargs]``.

JSON values cross as they are. Everything else becomes an object with the key ``$type``, which the type
registry turns back into a value on the other side; a dictionary that has such a key of its own, or keys
that are not strings, crosses as a list of pairs. Nothing on the wire ever names a class to import: a type
crosses only if both sides registered it.
"""

from . import standard
from .decoding import decode
from .encoding import MAX_DEPTH, MAX_PAYLOAD_BYTES, encode
from .registry import register_type

__all__ = ["MAX_DEPTH", "MAX_PAYLOAD_BYTES", "decode", "encode", "register_type"]

standard.register()

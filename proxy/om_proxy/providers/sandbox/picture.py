"""The pictures and sounds that the simulator gives away: always the same, and readable."""

from __future__ import annotations

from base64 import b64decode, b64encode

#: One grey pixel.
PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
PNG_TEXT = b64encode(PNG).decode()

#: A frame of an MP3 file, as often as there are tokens to say.
MP3_FRAME = bytes.fromhex("fffb9000") + bytes(413)

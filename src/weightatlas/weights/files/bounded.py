"""A file that is never asked for more bytes than it has."""

from io import BufferedIOBase

_AT_ONCE = 1 << 16


class Bounded:
    """Reads no more than is left: memory for what a pickle asks for would be taken first.

    Args:
        file: Open where reading shall begin.
    """

    def __init__(self, file: BufferedIOBase) -> None:
        self.file, self.tell, self.readline = file, file.tell, file.readline
        place = file.tell()
        self.end = file.seek(0, 2)
        file.seek(place)

    def read(self, count: int) -> bytes:
        """Read so many bytes, or those that are left."""
        return self.file.read(count if count < _AT_ONCE else max(0, min(count, self.end - self.tell())))

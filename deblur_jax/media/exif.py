r"""Changes to EXIF blocks that keep every other byte where it is.

A block is the content of a JPEG's APP1 segment: `Exif\0\0`, then a TIFF
header and its directories (CIPA DC-008, 4.5). The notes of camera makers
contain offsets into the block, so nothing may move. A broken block raises one
of `BROKEN`.
"""

import struct
from typing import NamedTuple

PREFIX = b'Exif\0\0'
BROKEN = (ValueError, struct.error)
# Tags of the first directory that describe the picture, not its storage:
# description, make, model, orientation, program, date, artist, computer,
# copyright, and the five of Windows.
DESCRIPTIVE = (270, 271, 272, 274, 305, 306, 315, 316, 33432,
               40091, 40092, 40093, 40094, 40095)
DIRECTORIES = (0x8769, 0x8825)  # of the camera, of the place (GPS)
_ORIENTATION, _CAMERA, _GPS = 0x0112, 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003
# Directories inside of others: of the camera, of other pictures, of exchange.
_POINTERS = (_CAMERA, 0x014A, 0xA005)
_SHORT, _LONG = 3, 4
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4,
          12: 8, 13: 4}  # type of a value -> its size
_MAX_ENTRIES = 1000      # of a directory; cameras write fewer than 100


class _Entry(NamedTuple):
  tag: int
  type: int
  count: int
  place: int  # offset of its 12 bytes in the block


def orientation(exif: bytes) -> int:
  """Reads the orientation of the stored picture, 1 to 8; 1 where it is absent.

  Args:
    exif: a block.
  """
  block, order = _parsed(exif)
  for entry in _directory(block, order, _first(block, order)):
    if entry.tag == _ORIENTATION:
      value = struct.unpack_from(order + 'H', block, entry.place + 8)[0]
      return value if 1 <= value <= 8 else 1
  return 1


def upright(exif: bytes) -> bytes:
  """Sets the orientation to upright and removes the thumbnail.

  Every directory is parsed, so the result is known to be readable.

  Args:
    exif: a block.

  Returns:
    A block of the same length.
  """
  block, order = _parsed(exif)
  start = _first(block, order)
  entries = _directory(block, order, start)
  for entry in entries:
    if entry.tag == _ORIENTATION:
      _set(block, order, entry, _SHORT, 1)
    elif entry.tag in (_CAMERA, _GPS):
      _directory(block, order, _value(block, order, entry))
  end = _end(start, entries)
  block[end:end + 4] = bytes(len(block[end:end + 4]))  # no next directory
  return PREFIX + bytes(block)


def with_size(exif: bytes, *, height: int, width: int) -> bytes:
  """Sets the pixel dimensions where the block has them.

  Args:
    exif: a block.
    height: of the picture, pixels.
    width: of the picture, pixels.

  Returns:
    A block of the same length.
  """
  block, order = _parsed(exif)
  for entry in _directory(block, order, _first(block, order)):
    if entry.tag == _CAMERA:
      for inner in _directory(block, order, _value(block, order, entry)):
        if inner.tag in (_WIDTH, _HEIGHT):
          size = width if inner.tag == _WIDTH else height
          _set(block, order, inner, _LONG, size)
  return PREFIX + bytes(block)


def without_gps(exif: bytes) -> bytes:
  """Removes the place from every directory, and all that none refers to.

  So no second block, thumbnail or rest behind the directories keeps a place.
  Offsets of camera makers that lead out of their notes lead to zeros.

  Args:
    exif: a block.

  Returns:
    A block of the same length.
  """
  block, order = _parsed(exif)
  before = bytes(block)
  places = {_value(block, order, entry)
            for start in _directories(block, order)
            for entry in _directory(block, order, start) if entry.tag == _GPS}
  used = bytearray(len(block))
  used[:8] = b'\1' * 8
  for start in _directories(block, order, without=places):
    entries = _directory(block, order, start)
    kept = [entry for entry in entries if entry.tag != _GPS]
    # With the pointer to the next directory.
    end = min(_end(start, entries) + 4, len(block))
    content = b''.join(before[one.place:one.place + 12] for one in kept)
    content += before[_end(start, entries):end]
    block[start:end] = (struct.pack(order + 'H', len(kept)) + content).ljust(
        end - start, b'\0')
    used[start:end] = b'\1' * (end - start)
    for entry in kept:
      size = entry.count * _BYTES.get(entry.type, 0)
      if size > 4:
        value = struct.unpack_from(order + 'L', before, entry.place + 8)[0]
        used[value:value + size] = b'\1' * len(used[value:value + size])
  return PREFIX + bytes(
      byte if use else 0 for byte, use in zip(block, used, strict=True))


def _directories(block, order, *, without=frozenset()):
  """The offsets of all directories but those `without`, each once."""
  todo, seen = [_first(block, order)], set(without)
  while todo:
    start = todo.pop()
    if start == 0 or start in seen:
      continue
    seen.add(start)
    entries = _directory(block, order, start)
    end = _end(start, entries)
    if end + 4 <= len(block):
      todo.append(struct.unpack_from(order + 'L', block, end)[0])
    for entry in entries:
      if entry.tag in _POINTERS:
        value = entry.place + 8
        if entry.count > 1:
          value = _value(block, order, entry)
        todo += struct.unpack_from(
            f'{order}{min(entry.count, _MAX_ENTRIES)}L', block, value)
    yield start


def _parsed(exif):
  block = bytearray(exif.removeprefix(PREFIX))
  order = {b'II*\0': '<', b'MM\0*': '>'}.get(bytes(block[:4]))
  if order is None:
    raise ValueError('no TIFF header')
  return block, order


def _first(block, order):
  return struct.unpack_from(order + 'L', block, 4)[0]


def _directory(block, order, start):
  count, = struct.unpack_from(order + 'H', block, start)
  if count > _MAX_ENTRIES:
    raise ValueError('a directory without end')
  places = range(start + 2, start + 2 + 12 * count, 12)
  return [_Entry(*struct.unpack_from(order + 'HHL', block, place), place)
          for place in places]


def _end(start, entries):
  return start + 2 + 12 * len(entries)


def _value(block, order, entry):
  return struct.unpack_from(order + 'L', block, entry.place + 8)[0]


def _set(block, order, entry, kind, value):
  code = {_SHORT: 'H2x', _LONG: 'L'}[kind]
  struct.pack_into(
      f'{order}HHL{code}', block, entry.place, entry.tag, kind, 1, value)

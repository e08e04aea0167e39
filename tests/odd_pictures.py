"""Picture files byte by byte, such as no library here writes them."""

import io
import struct
import zlib

import numpy as np
import tifffile

_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
          (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(name, data):
  """A chunk of a PNG."""
  return (struct.pack('>L', len(data)) + name + data
          + struct.pack('>L', zlib.crc32(name + data)))


def png(header, *chunks):
  """A PNG of (width, height, bits, colour type, interlaced) and chunks."""
  width, height, bits, colour, interlaced = header
  ihdr = struct.pack('>2L5B', width, height, bits, colour, 0, 0, interlaced)
  return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', ihdr) + b''.join(chunks)
          + chunk(b'IEND', b''))


def png16(samples, *chunks, interlaced=False):
  """A PNG of uint16 [h, w, c], whose rows take all five filters in turn."""
  height, width, channels = samples.shape
  passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
  rows = b''.join(
      _filtered(samples[top::down, left::right])
      for top, left, down, right in passes)
  colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
  return png((width, height, 16, colour, interlaced), *chunks,
             chunk(b'IDAT', zlib.compress(rows)))


def _filtered(samples):
  if not samples.size:
    return b''
  size = 2 * samples.shape[2]
  rows = samples.astype('>u2').reshape(len(samples), -1).view(np.uint8)
  rows = np.pad(rows.astype(int), ((1, 0), (size, 0)))
  out = []
  for number in range(1, len(rows)):
    row, above = rows[number, size:], rows[number - 1, size:]
    left, corner = rows[number, :-size], rows[number - 1, :-size]
    guesses = (0 * row, left, above, (left + above) // 2,
               _paeth(left, above, corner))
    kind = number % 5
    out.append(bytes([kind]) + ((row - guesses[kind]) % 256).astype(
        np.uint8).tobytes())
  return b''.join(out)


def _paeth(left, above, corner):
  guess = left + above - corner
  choices = np.stack([left, above, corner])
  nearest = np.abs(guess - choices).argmin(axis=0)  # the first of equals
  return np.take_along_axis(choices, nearest[None], axis=0)[0]


def exif(*, order='<', orientation=6, size=(9, 7), gps=True, thumbnail=True):
  """A camera's EXIF block: make, orientation, dimensions, a maker's note.

  Returns:
    The block; `b'SECRET PLACE'` in it is of the GPS directory, `b'NOTE'` the
    maker's.
  """
  pack = lambda code, *values: struct.pack(order + code, *values)
  short = lambda tag, value: pack('HHLH2x', tag, 3, 1, value)
  long = lambda tag, value: pack('HHLL', tag, 4, 1, value)
  text = lambda tag, kind, count, place: pack('HHLL', tag, kind, count, place)
  make, camera, place, next_one = 100, 120, 200, 260
  entries = [text(271, 2, 8, make), short(0x0112, orientation),
             long(0x8769, camera)] + [long(0x8825, place)] * gps
  first = (pack('H', len(entries)) + b''.join(entries)
           + pack('L', next_one if thumbnail else 0))
  parts = {8: first, make: b'Camera!\0',
           camera: pack('H', 3) + pack('HHL', 0x927C, 7, 4) + b'NOTE'
           + long(0xA002, size[0]) + short(0xA003, size[1]) + pack('L', 0),
           place: pack('H', 1) + text(29, 2, 13, 230) + pack('L', 0),
           230: b'SECRET PLACE\0',
           next_one: pack('H', 1) + short(0x0112, orientation) + pack('L', 0)}
  block = bytearray(280)
  block[:8] = (b'II*\0' if order == '<' else b'MM\0*') + pack('L', 8)
  for start, data in parts.items():
    if start not in (place, 230) or gps:
      block[start:start + len(data)] = data
  return b'Exif\0\0' + bytes(block)


def cmyk_profile():
  """An ICC profile of a press whose paper is black and whose inks are white.

  A v2 profile for output with the one table that it takes to leave it: 8-bit
  CMYK of two levels each to Lab.
  """
  lab = np.full((2, 2, 2, 2, 3), (255, 128, 128), np.uint8)
  lab[0, 0, 0, 0] = (0, 128, 128)
  curve = bytes(range(256))
  matrix = struct.pack('>9l', *(65536 * (i % 4 == 0) for i in range(9)))
  table = (b'mft1\0\0\0\0' + bytes([4, 3, 2, 0]) + matrix + 4 * curve
           + lab.tobytes() + 3 * curve)
  white = b'XYZ \0\0\0\0' + struct.pack('>3l', 63190, 65536, 54061)
  text = b'text\0\0\0\0none\0'
  name = (b'desc\0\0\0\0' + struct.pack('>L', 5) + b'test\0').ljust(95, b'\0')
  tags = {b'desc': name, b'cprt': text, b'wtpt': white, b'A2B0': table}
  index, data = struct.pack('>L', len(tags)), b''
  for tag, value in tags.items():
    place = 128 + 4 + 12 * len(tags) + len(data)
    index += tag + struct.pack('>2L', place, len(value))
    data += value + bytes(-len(value) % 4)
  header = (struct.pack('>L4sL4s4s4s', 128 + len(index) + len(data), bytes(4),
                        0x02400000, b'prtr', b'CMYK', b'Lab ')
            + struct.pack('>6H', 2026, 1, 1, 0, 0, 0) + b'acsp')
  header = header.ljust(68, b'\0') + struct.pack('>3l', 63190, 65536, 54061)
  return header.ljust(128, b'\0') + index + data


def dng(mosaic, *, turn=1):
  """A raw photo of a camera whose filters are sRGB's primaries.

  Args:
    mosaic: uint16 [h, w], red at its corner, green beside it.
    turn: the orientation.
  """
  # From XYZ to the camera, row by row (IEC 61966-2-1).
  matrix = (3.2406, -1.5372, -.4986, -.9689, 1.8758, .0415,
            .0557, -.2040, 1.0570)
  ratios = [part for value in matrix for part in (round(10000 * value), 10000)]
  file = io.BytesIO()
  tifffile.imwrite(file, mosaic, photometric='cfa', metadata=None, extratags=[
      (271, 2, 0, 'Camera!', True), (274, 3, 1, turn, True),
      (33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes([0, 1, 1, 2]), True),
      (50706, 1, 4, bytes([1, 4, 0, 0]), True), (50708, 2, 0, 'Model', True),
      (50717, 4, 1, 65535, True), (50721, 10, 9, ratios, True),
      (50728, 5, 3, (1, 1) * 3, True), (50778, 3, 1, 21, True)])
  return file.getvalue()

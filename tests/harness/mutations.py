"""Random damage to bytes."""

import random


def damage_bytes(draw: random.Random, content: bytes) -> tuple[str, bytes]:
  """Cuts bytes or changes some of them.

  Args:
    draw: the random numbers.
    content: of a file.

  Returns:
    What was done, and the content after it.
  """
  kind = draw.choice(('empty', 'cut', 'cut', 'bit', 'bit', 'bytes', 'zeros',
                      'ones', 'removed', 'doubled', 'header'))
  size = len(content)
  at = draw.randrange(size) if size else 0
  some = min(draw.choice((1, 4, 64, 1024)), size - at)
  changed = bytearray(content)
  if not size or kind == 'empty':
    return 'empty', b''
  if kind == 'cut':
    return f'cut at {at}', content[:at]
  if kind == 'removed':
    return f'without {some} at {at}', content[:at] + content[at + some:]
  if kind == 'doubled':
    return f'{some} twice at {at}', content[:at + some] + content[at:]
  if kind == 'bit':
    changed[at] ^= 1 << draw.randrange(8)
  elif kind == 'header':    # where sizes are
    at = draw.randrange(min(size, 64))
    changed[at] = draw.choice((0, 1, 127, 128, 255))
  else:
    fill = {'zeros': b'\0' * some, 'ones': b'\xff' * some,
            'bytes': draw.randbytes(some)}[kind]
    changed[at:at + some] = fill
  return f'{kind} at {at}', bytes(changed)

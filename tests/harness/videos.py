"""Small videos, damaged, through the reader and the writer of `deblur`."""

import random
import shutil
from collections.abc import Iterator

import films

from deblur_jax.media import videos
from tests.harness.cases import Case
from tests.harness.mutations import damage_bytes

# Name -> options of `films.film`: containers, codecs, turns and sound.
FILMS = {
    'plain.mp4': {}, 'sound.mp4': dict(sound='aac'),
    'turned.mov': dict(turn=(90,)), 'old.avi': dict(
        codec='mpeg4', clock=25, times=range(6)),
    'sound.mkv': dict(sound='libopus'),
    'alpha.webm': dict(codec='libvpx-vp9', pixels='yuva420p'),
    'stream.ts': {}, 'uneven.mkv': dict(times=(0, 512, 1536, 2048))}


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of several containers and codecs; the network changes nothing.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the changes.
  """
  draw = random.Random(seed)
  (folder / 'whole').mkdir()
  names = sorted(FILMS)[:count]
  whole = {name: films.film(
      folder / 'whole' / name, **{'times': films.STEADY[:6], **FILMS[name]}
  ).read_bytes() for name in names}
  for number in range(count):
    name = draw.choice(names)
    kind, content = damage_bytes(draw, whole[name])

    def read(name=name, content=content):
      shutil.rmtree(folder / 'case', ignore_errors=True)
      (folder / 'case').mkdir()
      source = folder / 'case' / name
      source.write_bytes(content)
      return videos.restore(
          source, folder / f'case/out{videos.target_suffix(source)}',
          lambda blur: blur[..., :3]).frames

    yield Case(f'{number} {name}: {kind}', read)

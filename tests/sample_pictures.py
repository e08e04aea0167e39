"""Small data sets on disk for the tests of data."""

import numpy as np
from PIL import Image


def smooth(seed, height=48, width=64):
  """A blurred and a sharp picture of one scene, uint8 [h, w, 3]."""
  rng = np.random.default_rng(seed)
  sharp = rng.integers(0, 256, (height, width, 3)).astype(np.float64)
  for axis in (0, 1):
    sharp = (sharp + np.roll(sharp, 1, axis)) / 2
  blur = sum(np.roll(sharp, shift, 1) for shift in range(-2, 3)) / 5
  return {'blur': np.rint(blur).astype(np.uint8),
          'sharp': np.rint(sharp).astype(np.uint8)}


def save(path, picture):
  """Writes one picture and the folders above it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(picture).save(path)


def gopro(root, *, subsets=('blur',), counts=(('train', 5), ('test', 2)),
          **size):
  """GOPRO_Large in small; the pairs differ, also between the splits."""
  for split, count in counts:
    for i in range(count):
      sequence = root / split / f'GOPR0372_07_0{"01"[split == "test"]}'
      pair = smooth(100 * len(split) + i, **size)
      save(sequence / 'sharp' / f'{i + 47:06d}.png', pair['sharp'])
      for subset in subsets:
        save(sequence / subset / f'{i + 47:06d}.png', pair['blur'])
      (sequence / 'frames 7 offset 0.txt').write_text('')
  return root

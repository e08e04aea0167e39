"""The encoder-decoder of Deep Image Prior (Ulyanov et al., CVPR 2018).

It has thin skips. Its architecture is its only knowledge of images: fitted to
one degraded picture from a code of noise, it reproduces the picture before the
degradation. Layers, padding and initial weights are those of the authors'
program.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import operators
from deblur_jax.models import checks, layers, non_local
from deblur_jax.ops import pad, resize
from deblur_jax.state import Array


class Skip(nn.Module):
  """The prior: a code [n, h', w', depth] to images [n, h, w, channels].

  Level i, from x:

    skip     1x1 convolution to skip[i] channels, if skip[i] > 0
    down     two convolutions to down[i] channels; the first halves the size
    join     level i + 1 of the result, enlarged twice, concatenated with the
             skip and normalised
    up       a convolution to up[i] channels
    mix      a further 1x1 convolution, with `mix`

  A norm and a leaky ReLU of 0.2 follow each convolution. Every image has its
  own statistics. Where a field allows a sequence, it has one value for each
  level, finest first.

  Attributes:
    depth: channels of the code.
    channels: of the image.
    down: channels at each level on the way down; its length is the number of
      levels.
    up: channels on the way up; None takes those of `down`.
    skip: channels of the skips, 0 for none.
    down_size: kernel sizes on the way down, odd.
    up_size: kernel sizes on the way up, odd.
    mix: whether each level ends with a 1x1 convolution.
    downsample: rows of `DOWNSAMPLE`: 'stride', or a convolution at full size
      and then 'avg', 'max' or 'lanczos2'.
    upsample: rows of `UPSAMPLE`: 'bilinear' or 'nearest'.
    attention: the levels, from 0, with a non-local block after the halving.
    border: a row of `BORDERS`: 'reflect' or 'zero'.
    dtype: of the convolutions; parameters, norms and images are float32.
  """

  depth: int = 32
  channels: int = 3
  down: Sequence[int] = (128,) * 5
  up: Sequence[int] | None = None
  skip: int | Sequence[int] = 4
  down_size: int | Sequence[int] = 3
  up_size: int | Sequence[int] = 3
  mix: bool = True
  downsample: str | Sequence[str] = 'stride'
  upsample: str | Sequence[str] = 'bilinear'
  attention: Sequence[int] = ()
  border: str = 'reflect'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, depth=self.depth, channels=self.channels,
                    levels=len(self.down))
    checks.at_least(1, down=min(self.down), up=min(self.at_levels('up')))
    checks.at_least(0, skip=min(self.at_levels('skip')))
    for name in ('down_size', 'up_size'):
      checks.odd(**{name: self.at_levels(name)})
    for name, table in (('downsample', DOWNSAMPLE), ('upsample', UPSAMPLE)):
      for value in self.at_levels(name):
        errors.look_up(table, value, what=name)
    for level in self.attention:
      errors.look_up(dict(enumerate(self.down)), level, what='attention level')
    errors.look_up(BORDERS, self.border, what='border')
    checks.dtype(self.dtype)
    super().__post_init__()

  def code(self, size: tuple[int, int]) -> tuple[int, int, int]:
    """The shape of the code for images of a size.

    Pooling drops the last row of odd sizes. So with pooling the code has the
    next multiple of 2^levels, and the image is its middle.

    Args:
      size: (h, w) of the images.

    Returns:
      (height, width, depth).
    """
    multiple = 1
    if set(self.at_levels('downsample')) != {'stride'}:
      multiple = 2**len(self.down)
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width, self.depth

  @nn.compact
  def __call__(
      self, z: Array, *, size: tuple[int, int] | None = None
  ) -> Array:
    """Makes images of a code.

    Args:
      z: [n, h', w', depth].
      size: (h, w) of the images, the middle of the result; None takes all of
        it.

    Returns:
      [n, h, w, channels], float32 in (0, 1).

    Raises:
      UserError: a code of another shape.
    """
    checks.code(self, z)
    x, skips = z, []
    for i in range(len(self.down)):
      skips.append(self._skip(x, i))
      x = self._down(x, i)
    for i in reversed(range(len(self.down))):
      x = self._up(x, skips[i], i)
    x = layers.Conv(self.channels, 1, dtype=self.dtype, name='tail')(x)
    image = nn.sigmoid(x.astype(jnp.float32))
    return pad.crop_centre(image, size=size or z.shape[1:3])

  def _skip(self, x, i):
    features = self.at_levels('skip')[i]
    return self._conv(features, 1, name=f'skip_{i}')(x) if features else None

  def _down(self, x, i):
    features, size = self.down[i], self.at_levels('down_size')[i]
    downsample = DOWNSAMPLE[self.at_levels('downsample')[i]]
    stride = 1 if downsample else 2
    x = self._conv(features, size, stride, downsample, name=f'half_{i}')(x)
    if i in self.attention:
      x = non_local.NonLocal(dtype=self.dtype, name=f'attention_{i}')(x)
    return self._conv(features, size, name=f'down_{i}')(x)

  def _up(self, x, skip, i):
    x = UPSAMPLE[self.at_levels('upsample')[i]](x)
    parts = [x] if skip is None else crop_alike([skip, x])
    x = layers.JoinNorm(name=f'join_{i}')(parts)
    features = self.at_levels('up')[i]
    x = self._conv(features, self.at_levels('up_size')[i], name=f'up_{i}')(x)
    return self._conv(features, 1, name=f'mix_{i}')(x) if self.mix else x

  def _conv(self, features, size, stride=1, downsample=None, *, name):
    return layers.ConvNorm(
        features, size, stride, reflect=BORDERS[self.border],
        downsample=downsample,
        dtype=self.dtype, name=name)

  def at_levels(self, name: str) -> list:
    """An option as one value for each level.

    Args:
      name: of the option.

    Returns:
      A list, finest level first.

    Raises:
      UserError: a sequence of another length.
    """
    value = getattr(self, name)
    if value is None:
      value = self.down
    if isinstance(value, int | str):
      return [value] * len(self.down)
    if len(value) != len(self.down):
      raise errors.UserError(
          f"The network's {name} must be one for all or one for each of the "
          f'{len(self.down)} levels of down, got {list(value)}.')
    return list(value)


class Hourglass(Skip):
  """The same network as a restorer: images [n, h, w, 3] to a list of one.

  Weights that were fitted to one picture from the picture itself
  (code='observed') can be trained further on pairs.
  """

  depth: int = 3

  def __call__(self, blur: Array, *, train: bool = False) -> list:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: not used, since the network has no dropout.

    Returns:
      One image in (0, 1).

    Raises:
      UserError: images of another shape.
    """
    del train
    checks.images(blur)
    height, width = blur.shape[1:3]
    rows, columns, _ = self.code((height, width))
    z = jnp.pad(blur, ((0, 0), (0, rows - height), (0, columns - width),
                       (0, 0)), mode='edge')
    return [pad.crop(super().__call__(z), size=(height, width))]


def crop_alike(images: Sequence[Array]) -> list[Array]:
  """Crops images from their middles to the smallest height and width.

  Args:
    images: [n, h_i, w_i, c_i] each.

  Returns:
    Images of one height and width.
  """
  size = tuple(min(x.shape[axis] for x in images) for axis in (1, 2))
  return [pad.crop_centre(x, size=size) for x in images]


def _average(x):
  return _quads(x).mean(axis=(2, 4))


def _max(x):
  return _quads(x).max(axis=(2, 4))


def _quads(x):
  n, h, w, c = x.shape
  return x.reshape(n, h // 2, 2, w // 2, 2, c)


def _lanczos2(x):
  y = operators.lanczos_downsample(factor=2).forward(x.astype(jnp.float32))
  return y.astype(x.dtype)


def _nearest(x):
  return layers.upsample_nearest(x, factor=2)


# name -> what halves [n, h, w, c] of even sizes, or None for a stride of 2
DOWNSAMPLE = {
    'stride': None, 'avg': _average, 'max': _max, 'lanczos2': _lanczos2}
UPSAMPLE = {'bilinear': resize.double_bilinear, 'nearest': _nearest}
# name -> whether images are mirrored at the border
BORDERS = {'reflect': True, 'zero': False}

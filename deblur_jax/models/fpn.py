"""A feature pyramid network with a light backbone, after DeblurGAN-v2.

The layout is that of Kupyn et al. (ICCV 2019): features of 1/4 to 1/32 of the
size are summed from coarse to fine (Lin et al. 2017), enlarged to 1/4 and
concatenated, then enlarged to full size, with tanh, a global skip and a clamp.
The backbone has the inverted residuals and the widths of MobileNet-v2 (Sandler
et al. 2018). It is trained from scratch, with instance norm instead of batch
norm.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers
from deblur_jax.ops import pad
from deblur_jax.state import Array

STAGES = 5    # of the backbone: 1/2, 1/4, ... 1/32 of the size


class FPN(nn.Module):
  """The network: images to a list of one image in [0, 1].

  The input is padded at its lower and right edge to a multiple of 32.

  Attributes:
    pyramid: channels of the feature pyramid.
    features: channels of the layers behind it.
    widths: channels of the backbone at 1/2, 1/4, ... 1/32 of the size.
    repeats: inverted residuals at those sizes.
    expansion: channels inside of an inverted residual over those outside.
    dtype: of the convolutions; parameters, norms and results are float32.
  """

  pyramid: int = 128
  features: int = 64
  widths: Sequence[int] = (16, 24, 32, 64, 160)
  repeats: Sequence[int] = (1, 2, 3, 4, 3)
  expansion: int = 6
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, pyramid=self.pyramid, expansion=self.expansion)
    checks.at_least(2, features=self.features)
    for name in ('widths', 'repeats'):
      numbers = getattr(self, name)
      if len(numbers) != STAGES or min(numbers) < 1:
        raise errors.UserError(
            f"The network's {name} must be {STAGES} numbers of at least 1, "
            f'got {list(numbers)}.')
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: not used, since the network has no dropout.

    Returns:
      One image.

    Raises:
      UserError: images of another shape.
    """
    del train  # it has no dropout
    checks.images(blur)
    padded, size = pad.to_multiple(blur, multiple=32)
    half, *stages = self._backbone(2 * padded - 1)
    heads = []
    for i, x in enumerate(self._top_down(stages)):
      x = self._conv(self.features, f'head_{i}_0', bias=False)(x)
      x = layers.relu(x)
      x = self._conv(self.features, f'head_{i}_1', bias=False)(x)
      heads.append(layers.upsample_nearest(layers.relu(x), factor=2**i))
    x = jnp.concatenate(heads, axis=-1)  # [n, h/4, w/4, 4 features]
    x = self._smooth(x, self.features, name='smooth_0')
    x = layers.upsample_nearest(x, factor=2)  # [n, h/2, w/2, features]
    x = x + self._conv(self.features, 'lateral_half', size=1, bias=False)(half)
    x = self._smooth(x, self.features // 2, name='smooth_1')
    x = self._conv(3, 'tail')(layers.upsample_nearest(x, factor=2))
    return [pad.crop(layers.add_tanh(padded, x), size=size)]

  def _backbone(self, x):
    """Features of 1/2, 1/4, ... 1/32 of the size, with `widths` channels."""
    stages = []
    x = layers.Conv(
        2 * self.widths[0], 3, stride=2, use_bias=False, dtype=self.dtype,
        name='stem')(x)
    x = layers.relu(layers.instance_norm(x))
    for i, width in enumerate(self.widths):
      for j in range(self.repeats[i]):
        x = InvertedResidual(
            width, expansion=self.expansion if i else 1,
            stride=2 if i and not j else 1, dtype=self.dtype,
            name=f'stage_{i}_{j}')(x)
      stages.append(x)
    return stages

  def _top_down(self, stages):
    """Maps of `pyramid` channels, 1/4 of the size first."""
    maps = []
    for i in reversed(range(len(stages))):
      lateral = self._conv(
          self.pyramid, f'lateral_{i}', size=1, bias=False)
      x = lateral(stages[i])
      if maps:
        x = x + layers.upsample_nearest(maps[0], factor=2)
        x = self._smooth(x, self.pyramid, name=f'pyramid_{i}')
      maps.insert(0, x)
    return maps

  def _smooth(self, x, features, *, name):
    return layers.relu(layers.instance_norm(self._conv(features, name)(x)))

  def _conv(self, features, name, *, size=3, bias=True):
    return layers.Conv(
        features, size, use_bias=bias, dtype=self.dtype, name=name)


class InvertedResidual(nn.Module):
  """1x1 to more channels, 3x3 depthwise, 1x1 back; a sum if shapes agree."""

  features: int
  expansion: int
  stride: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h / stride, w / stride, features]."""
    options = dict(use_bias=False, dtype=self.dtype)
    y = x
    if self.expansion > 1:
      wide = self.expansion * x.shape[-1]
      y = layers.Conv(wide, kernel_size=1, **options, name='expand')(y)
      y = layers.relu(layers.instance_norm(y))
    y = layers.Depthwise(stride=self.stride, dtype=self.dtype, name='depth')(y)
    y = layers.relu(layers.instance_norm(y))
    y = layers.Conv(
        self.features, kernel_size=1, **options, name='project')(y)
    y = layers.instance_norm(y)
    return x + y if x.shape == y.shape else y

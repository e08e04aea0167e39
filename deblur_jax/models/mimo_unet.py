"""Several sizes in, several sizes out (MIMO-UNet: Cho et al. 2021).

The encoder takes the blurry image at three sizes. A few thin convolutions
extract features of the smaller images (the paper's SCM). These are multiplied
with the features from the finer level and added to them (FAM). Every skip to
the decoder fuses the features of all three sizes (AFF), and the decoder returns
a restored image at each size. Among the parameters `look_s` is the SCM of size
s, `meet_s` the convolution of its FAM, and `fuse_s` the AFF.

Of a video it can take several frames at once, concatenated along channels
before the first convolution of each size: early fusion, as in DBN (Su et al.,
CVPR 2017), which takes five. It learns the difference to the middle frame.

With `unshuffle` it works on images whose 2 x 2 pixels are channels of one pixel
(FFDNet: Zhang et al., TIP 2018): a quarter of the operations.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import attention, checks, layers
from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import frames, pad
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array

SCALES = 3


class MimoUNet(nn.Module):
  """The network: images to three images, finest first.

  The s-th image has [n, ceil(h / 2^s), ceil(w / 2^s), 3], float32 and not
  clipped. The input is padded at its lower and right edge to a multiple of
  4 * unshuffle. With the defaults it has the 6,807,171 parameters of MIMO-UNet,
  which takes every second pixel where `pyramid` averages.

  Attributes:
    features: channels at full size, at least 4; twice and four times as many
      below.
    blocks: residual blocks at each size, in the encoder and in the decoder; 20
      give MIMO-UNet+.
    pyramid: a row of `ops.pyramid.PYRAMIDS`, for the smaller images.
    window: how many frames of a video it takes, odd; 1 for single pictures.
    unshuffle: how many pixels high and wide become channels of one pixel.
    attention: a row of `attention.ATTENTION`, in every residual block.
    dtype: of the convolutions; parameters and results are float32.
  """

  features: int = 32
  blocks: int = 8
  pyramid: str = 'deepdeblur_pytorch'
  window: int = 1
  unshuffle: int = 1
  attention: str = 'none'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(4, features=self.features)
    checks.at_least(0, blocks=self.blocks)
    checks.at_least(1, unshuffle=self.unshuffle)
    errors.look_up(pyramids.PYRAMIDS, self.pyramid, what='pyramid')
    checks.odd(window=[self.window])
    errors.look_up(attention.ATTENTION, self.attention, what='attention')
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3 * window] in [0, 1], of any size.
      train: not used, since the network has no dropout.

    Returns:
      Three images, finest first.

    Raises:
      UserError: images of another shape.
    """
    del train  # it has no dropout
    checks.images(blur, window=self.window)
    padded, size = pad.to_multiple(
        blur, multiple=2**(SCALES - 1) * self.unshuffle)
    blurs = pyramids.PYRAMIDS[self.pyramid](padded, levels=SCALES)
    *encoded, x = self._encode([
        conv_ops.pixel_unshuffle(x, factor=self.unshuffle) for x in blurs])
    skips = self._fuse([*encoded, x])
    latents = []
    for s in reversed(range(SCALES)):
      if s < SCALES - 1:
        up = layers.ConvTranspose(
            self.features * 2**s, kernel_size=4, dtype=self.dtype,
            name=f'up_{s}')
        x = jnp.concatenate([layers.relu(up(x)), skips[s]], axis=-1)
        x = layers.relu(self._conv(x, x.shape[-1] // 2, 1, name=f'join_{s}'))
      x = self._blocks(x, name=f'decode_{s}')
      latent = conv_ops.pixel_shuffle(self._conv(
          x, 3 * self.unshuffle**2, name=f'tail_{s}' if s else 'tail'),
          factor=self.unshuffle)
      latents.insert(
          0, latent.astype(jnp.float32) + frames.middle(blurs[s]))
    return [
        pad.crop(latent, size=pyramids.size(size, level=s))
        for s, latent in enumerate(latents)]

  def _encode(self, blurs):
    """Features of each size, finest first."""
    x = layers.relu(self._conv(blurs[0], self.features, name='head'))
    encoded = [self._blocks(x, name='encode_0')]
    for s in range(1, SCALES):
      x = layers.relu(self._conv(
          encoded[-1], self.features * 2**s, stride=2, name=f'down_{s}'))
      seen = ShallowConvolution(
          x.shape[-1], dtype=self.dtype, name=f'look_{s}')(blurs[s])
      x = x + self._conv(x * seen, x.shape[-1], name=f'meet_{s}')
      encoded.append(self._blocks(x, name=f'encode_{s}'))
    return encoded

  def _fuse(self, encoded):
    """The skips of the two finer sizes, from the features of all sizes."""
    skips = []
    for s in range(SCALES - 1):
      # Repeats or subsamples 2^|i-s| x 2^|i-s| pixels.
      resized = [
          layers.upsample_nearest(x, factor=2**(i - s)) if i > s
          else pyramids.every(x, step=2**(s - i))
          for i, x in enumerate(encoded)]
      features = encoded[s].shape[-1]
      x = jnp.concatenate(resized, axis=-1)
      x = layers.relu(self._conv(x, features, 1, name=f'fuse_{s}_0'))
      skips.append(self._conv(x, features, name=f'fuse_{s}_1'))
    return skips

  def _conv(self, x, features, kernel_size=3, *, stride=1, name):
    conv = layers.Conv(
        features, kernel_size, stride, dtype=self.dtype, name=name)
    return conv(x)

  def _blocks(self, x, *, name):
    for i in range(self.blocks):
      x = layers.ResBlock(
          3, self.dtype, attention.ATTENTION[self.attention],
          name=f'{name}_{i}')(x)
    return x


class ShallowConvolution(nn.Module):
  """The shallow convolutional module, of a smaller image (SCM)."""

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, blur: Array) -> Array:
    """Maps images [n, h, w, c] to [n, h, w, features]."""
    x = blur
    for i, (features, size) in enumerate((
        (self.features // 4, 3), (self.features // 2, 1),
        (self.features // 2, 3), (self.features - 3, 1))):
      x = layers.relu(self._conv(features, size, f'conv_{i}')(x))
    x = jnp.concatenate([blur.astype(x.dtype), x], axis=-1)
    return self._conv(self.features, 1, 'join')(x)

  def _conv(self, features, size, name):
    return layers.Conv(features, size, dtype=self.dtype, name=name)

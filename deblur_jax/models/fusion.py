"""Several sizes in, several out, fused on the way (MIMO-UNet: Cho et al. 2021).

The encoder meets the blurry image at each of its three sizes: a few thin
convolutions look at the smaller images (SCM), and what they see is multiplied
with, then added to, what comes from above (FAM). Every skip to the decoder is
made of the features of all three sizes (AFF), and the decoder leaves a restored
image at each.

Of a video it may take several frames at once, one after another in the first
convolution at each size: early fusion, as in DBN (Su et al., CVPR 2017), which
takes five. What it learns is the difference to the frame in the middle.

Where time matters it works on images whose 2 x 2 pixels are channels of one
(FFDNet: Zhang et al., TIP 2018), and gives them back: a quarter of the work.
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


class Fusion(nn.Module):
  """Images [n, h, w, 3 * window] of any size to a list of three, finest first.

  The s-th has [n, ceil(h / 2^s), ceil(w / 2^s), 3], float32 and not clipped.
  The input is padded at its lower and right edge to a multiple of 4, or of 4
  times `unshuffle`. With the
  defaults it has the 6,807,171 parameters of MIMO-UNet, which keeps every
  second pixel where `pyramid` averages.

  Attributes:
    features: channels at full size; twice and four times as many below.
    blocks: residual blocks at each size, in the encoder and in the decoder; 20
      make MIMO-UNet+.
    pyramid: a name in `ops.pyramid.PYRAMIDS`, for the smaller images.
    window: odd, the frames of a video that it takes; 1 for single pictures.
    unshuffle: how many pixels high and wide become channels of one.
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
      seen = Look(x.shape[-1], dtype=self.dtype, name=f'look_{s}')(blurs[s])
      x = x + self._conv(x * seen, x.shape[-1], name=f'meet_{s}')
      encoded.append(self._blocks(x, name=f'encode_{s}'))
    return encoded

  def _fuse(self, encoded):
    """The skips of each size but the coarsest, of the features of all."""
    skips = []
    for s in range(SCALES - 1):
      # By repeating, or keeping the first of, 2^|i-s| x 2^|i-s| pixels.
      resized = [
          layers.enlarge(x, factor=2**(i - s)) if i > s
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


class Look(nn.Module):
  """What a few thin convolutions see in a smaller image (SCM)."""

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, blur: Array) -> Array:
    x = blur
    for i, (features, size) in enumerate((
        (self.features // 4, 3), (self.features // 2, 1),
        (self.features // 2, 3), (self.features - 3, 1))):
      x = layers.relu(self._conv(features, size, f'conv_{i}')(x))
    x = jnp.concatenate([blur.astype(x.dtype), x], axis=-1)
    return self._conv(self.features, 1, 'join')(x)

  def _conv(self, features, size, name):
    return layers.Conv(features, size, dtype=self.dtype, name=name)

"""Multi-axis MLPs in a U of three stages (MAXIM: Tu et al., CVPR 2022).

A layer of MAXIM mixes pixels along two axes. The channels are split into two
halves:

  grid:   the picture is side x side cells, and pixels at the same position of
          all cells are mixed: global and sparse
  block:  the picture is windows of side x side pixels, and the pixels of each
          window are mixed: local and dense

Each half is mixed by one matrix over side^2 positions, for any size of the
picture. So the cost is linear in the number of pixels, and every pixel can
depend on every other. A gated MLP multiplies by the mixed values; cross gating
multiplies each of two inputs by the mixed values of the other:

  gMLP:          u * (W v + 1),  u and v: halves of the channels   (section 3.2)
  cross gating:  x * G(y),  y * G(x)                               (section 3.3)

A stage is a U of encoders, bottleneck and decoders that takes the picture at
three sizes. A supervised attention module behind a stage predicts the sharp
picture at each size and passes features on to the next stage.

Parameters have the names of the authors' tree, so their files load by path.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers
from deblur_jax.models import maxim_blocks as blocks
from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import pad, resize
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array

STAGES = 3             # of the network that the authors trained
PYRAMID = 'nearest'    # of the picture's sizes
HIGH_RES = 2           # levels whose cells and windows have 16 x 16 positions
SIDES = (16, 8)        # of the positions at those levels, and below


class MAXIM(nn.Module):
  """The network: images to a list of images, finest first, not clipped.

  The s-th image has [n, ceil(h / 2^s), ceil(w / 2^s), 3], float32. The input is
  mirrored on all four sides to a multiple of 8 * 2^depth * unshuffle * reduce.
  With the defaults it has the 22,212,795 parameters of MAXIM-3S.

  Attributes:
    features: channels at full size; twice as many at each level below.
    depth: levels above the bottleneck.
    groups: pairs of multi-axis gMLP and channel attention in a block.
    bottleneck: blocks at the lowest level.
    stages: how many stages compute, 1 to 3. Fewer than 3 return the picture of
      the last supervised attention module, and need no later parameters.
    widest: the largest number of channels of a level; 0 for no limit.
    rank: of the matrices over 16 x 16 positions, which are then diagonal plus
      low rank (`spatial_mixing.low_rank`); 0 is a full matrix. These matrices
      are a quarter of a stage's parameters, and rank 16 costs it 0.2 of 3.5 dB.
    scales: how many sizes of the picture it returns, 1 to `depth`. The heads of
      the smaller ones of stage 2 serve training only: published weights lack
      them and need scales=1.
    unshuffle: how many pixels high and wide become channels of one pixel at the
      first layer, and return behind the last: 2 takes a quarter of the
      operations.
    reduce: how much smaller the network's picture is; its changes are enlarged
      and added. 2 takes a quarter of the operations with the same weights, and
      loses the finest detail.
    remat: whether the backward pass computes each block again, to save memory.
    dtype: of the computation; parameters, norms and results are float32.
  """

  features: int = 32
  depth: int = 3
  groups: int = 2
  bottleneck: int = 2
  stages: int = STAGES
  widest: int = 0
  rank: int = 0
  scales: int = 3
  unshuffle: int = 1
  reduce: int = 1
  remat: bool = False
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(blocks.REDUCTION, features=self.features)
    checks.at_least(1, depth=self.depth, groups=self.groups,
                    bottleneck=self.bottleneck, unshuffle=self.unshuffle,
                    reduce=self.reduce)
    checks.between(1, STAGES, stages=self.stages)
    checks.between(0, SIDES[0]**2, rank=self.rank)
    if self.widest:
      checks.at_least(self.features, widest=self.widest)
    checks.between(1, self.depth, scales=self.scales)
    checks.dtype(self.dtype)
    super().__post_init__()

  @property
  def multiple(self) -> int:
    """The divisor of both sides of a padded picture."""
    return SIDES[-1] * 2**self.depth * self.unshuffle * self.reduce

  @property
  def widths(self) -> list[int]:
    """Channels of each level, finest first."""
    widths = [self.features * 2**level for level in range(self.depth)]
    return [min(width, self.widest or width) for width in widths]

  def places(self, level: int) -> blocks.Places:
    """The positions that a level mixes.

    Args:
      level: from 0, finest first.

    Returns:
      Their number a side and the rank of their matrix.
    """
    deep = level >= HIGH_RES
    return blocks.Places(SIDES[deep], 0 if deep else self.rank)

  @property
  def tiling(self) -> dict[str, float]:
    """Keywords of `tiling.build`.

    Two stages take 6 kB a pixel. Good results change mean colours by 0.06 at
    most (GoPro's test frames, photos with real blur); artefacts by 0.1 and more
    (sharp photos of Set14).
    """
    smaller = self.unshuffle * self.reduce    # the network's picture
    return {'longest': 560 * smaller, 'tile_bytes': 6_000 // smaller**2,
            'multiple': self.multiple, 'trust': 0.075}

  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: see `all_stages`.

    Returns:
      `scales` images, finest first.

    Raises:
      UserError: see `all_stages`.
    """
    return self.all_stages(blur, train=train)[-1]

  @nn.compact
  def all_stages(
      self, blur: Array, *, train: bool = False
  ) -> list[list[Array]]:
    """The images of every stage, for deep supervision.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: whether targets follow, which are made of the picture without
        padding: the smaller images must lie on their grid.

    Returns:
      For each stage, first one first, its images, finest first.

    Raises:
      UserError: images of another shape, or crops to train with that are not
        divisible by 2^scales where `scales` is above 1.
    """
    checks.images(blur)
    padded, corner = pad.reflect_to_multiple(blur, multiple=self.multiple)
    # Refused, and not padded otherwise: the corner moves the cells and windows,
    # and restoring must pad as training does.
    if train and any(first % 2**(self.scales - 1) for first in corner):
      raise errors.UserError(
          f'data.loader.crop = {min(blur.shape[1:3])} is not divisible by '
          f'{2**self.scales}, as the {self.scales} scales of MAXIM need it: '
          'their pixels would lie beside those of the targets.')
    wholes = pyramids.PYRAMIDS[PYRAMID](padded, levels=self.depth)
    blurs = [
        conv_ops.pixel_unshuffle(
            resize.downsample_bilinear(x, factor=self.reduce),
            factor=self.unshuffle) for x in wholes]
    results, before = [], None
    for s in range(self.stages):
      images, before = self._stage(blurs, s, before)
      results.append([
          pad.crop_at(self._of_full_size(image, blurs[level], wholes[level]),
                      corner=[side // 2**level for side in corner],
                      size=pyramids.size(blur.shape[1:3], level=level))
          for level, image in enumerate(images)])
    return results

  def _of_full_size(self, image, blur, whole):
    """The image in pixels of `whole`; with `reduce` its change is enlarged."""
    if self.reduce == 1:
      return conv_ops.pixel_shuffle(image, factor=self.unshuffle)
    change = conv_ops.pixel_shuffle(image - blur, factor=self.unshuffle)
    return whole + resize.upsample_bilinear(change, factor=self.reduce)

  def own(self, params: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a tree with more stages or scales that this network reads.

    Args:
      params: the tree.

    Returns:
      The part.
    """
    def reads(name):
      if resampler := re.fullmatch(r'UpSampleRatio_(\d+)', name):
        return int(resampler[1]) < self.stages * 2 * self.depth**2
      block = re.fullmatch(r'stage_(\d+)_(.+)_(\d+)', name)
      if not block:
        return True    # no name of MAXIM: a later check refuses it
      s, kind, level = int(block[1]), block[2], int(block[3])
      is_head = s == self.stages - 1 and kind in (
          'supervised_attention_module', 'output_conv')
      return s < self.stages and not (is_head and level >= self.scales)

    found = {name: leaf for name, leaf in params.items() if reads(name)}
    for i in range(self.scales):
      # The picture alone: no stage reads the features of the last one.
      name = f'stage_{self.stages - 1}_supervised_attention_module_{i}'
      if name in found:
        found[name] = {'Conv_1': found[name]['Conv_1']}
    return found

  def fewer(self, other: 'MAXIM') -> tuple[str, ...]:
    """Options in which `own` makes another network's tree fit this one.

    Args:
      other: the other network.

    Returns:
      The names of the options.
    """
    stages = ('stages',) if self.stages <= other.stages else ()
    return (*stages, 'scales')

  def _stage(self, blurs, s, before):
    """Stage s: its images, finest first, and its features for the next one.

    `before` are these features of the stage before: three lists, finest first,
    of what its attention modules passed on, its encoders and its decoders made.
    """
    block = lambda kind, name, **options: self._wrapped(kind)(
        dtype=self.dtype, name=f'stage_{s}_{name}', **options)
    levels = range(self.depth)
    widths = self.widths
    encoded, x = [], None
    for i in levels:
      features = layers.Conv(widths[i], 3, dtype=self.dtype,
                             name=f'stage_{s}_input_conv_{i}')(blurs[i])
      skip = None
      if before:
        passed, encoders, decoders = before
        features, _ = block(
            blocks.CrossGating, f'input_fuse_sam_{i}', features=widths[i],
            places=self.places(i))(features, passed[i])
        skip = encoders[i] + decoders[i]
      # The finest level takes its features twice, as in the authors' code.
      x = jnp.concatenate([x if i else features, features], axis=-1)
      x, own = block(
          blocks.Encoder, f'encoder_block_{i}', features=widths[i],
          places=self.places(i), groups=self.groups)(x, skip)
      encoded.append(own)

    for i in range(self.bottleneck):
      x = block(blocks.Bottleneck, f'global_block_{i}', features=widths[-1],
                places=blocks.Places(SIDES[-1]), groups=self.groups)(x)

    resample = _Resampler(self, s)
    skips, y = [None] * self.depth, x
    for i in reversed(levels):
      signal = resample(encoded, i, levels, widths[i])
      skips[i], y = block(
          blocks.CrossGating, f'cross_gating_block_{i}', features=widths[i],
          places=self.places(i), upsample=True)(signal, y)

    decoded = [None] * self.depth
    for i in reversed(levels):
      bridge = resample(skips, i, reversed(levels), widths[i])
      x = block(blocks.Decoder, f'decoder_block_{i}', features=widths[i],
                places=self.places(i), groups=self.groups)(x, bridge)
      decoded[i] = x
    images, passed = self._heads(s, decoded, blurs)
    return images, (passed, encoded, decoded)

  def _heads(self, s, decoded, blurs):
    """The images of stage s, and the features for the next stage."""
    images, passed = [], []
    last = s == self.stages - 1
    for i, (x, blur) in enumerate(zip(decoded, blurs, strict=True)):
      if s < STAGES - 1 and not (last and i >= self.scales):
        image, features = blocks.SupervisedAttention(
            features=x.shape[-1], image_only=last, dtype=self.dtype,
            name=f'stage_{s}_supervised_attention_module_{i}')(x, blur)
        passed.append(features)
      elif i < self.scales:
        image = blur + layers.Conv(
            blur.shape[-1], 3, dtype=self.dtype,
            name=f'stage_{s}_output_conv_{i}')(
                x).astype(jnp.float32)
      else:
        break
      images.append(image)
    return images[:self.scales], passed

  def _wrapped(self, kind):
    return nn.remat(kind) if self.remat else kind


class _Resampler:
  """Features of several levels at the size of one: the UpSampleRatio modules.

  They are numbered in the order of their calls, as the authors' names are. The
  1x1 convolution is applied at the smaller of both sizes, with the same result.
  """

  def __init__(self, net: MAXIM, stage: int):
    self._net = net
    self._next = stage * 2 * net.depth**2

  def __call__(self, xs, level, order, features):
    """The features of all levels of `order` at the size of `level`."""
    parts = []
    for j in order:
      conv = blocks.UpSampleRatio(
          features, dtype=self._net.dtype, name=f'UpSampleRatio_{self._next}')
      self._next += 1
      if j < level:
        parts.append(conv(
            resize.downsample_bilinear(xs[j], factor=2**(level - j))))
      else:
        parts.append(
            resize.upsample_bilinear(conv(xs[j]), factor=2**(j - level)))
    return jnp.concatenate(parts, axis=-1)

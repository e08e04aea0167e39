"""Multi-axis MLPs in a U of three stages (MAXIM: Tu et al., CVPR 2022).

A layer of MAXIM mixes pixels along two axes. Split into two halves of channels,

  grid:   the picture is side x side cells, and pixels at one place of all cells
          are mixed: global and sparse
  block:  the picture is windows of side x side pixels, and the pixels of each
          window are mixed: local and dense

each by one matrix over side^2 positions, whatever the size of the picture. So
the cost is linear in the number of pixels, and every pixel can see every other.
A gated MLP multiplies by what it mixes, cross gating multiplies each of two
inputs by what it mixes of the other:

  gMLP:          u * (W v + 1),  u and v: halves of the channels  (section 3.2)
  cross gating:  x * G(y),  y * G(x)                              (section 3.3)

A stage is a U of encoders, bottleneck and decoders that takes the picture at
three sizes. A supervised attention module behind a stage predicts the sharp
picture at each size and passes features on to the next stage.

Parameters have the names of the authors' own tree, so their files load by path.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.models import checks, layers
from deblur_jax.ops import pad, positions, pyramid, resize, statistics

STAGES = 3             # of the network that the authors trained
HIGH_RES = 2           # levels whose cells and windows have 16 x 16 positions
SIDES = (16, 8)        # at those levels, and at all below
REDUCTION = 4          # of channels in the channel attention


class MAXIM(nn.Module):
  """Images [n, h, w, 3] of any size to a list, finest first, not clipped.

  The s-th image has [n, ceil(h / 2^s), ceil(w / 2^s), 3], float32. The input is
  mirrored on all four sides to a multiple of 8 * 2^depth. With the defaults it
  has the 22,212,795 parameters of MAXIM-3S.

  Attributes:
    features: channels at full size; twice as many at each level below.
    depth: levels above the bottleneck.
    groups: pairs of multi-axis gMLP and channel attention in a block.
    bottleneck: blocks at the lowest level.
    stages: how many stages compute, 1 to 3. Fewer than 3 give the picture of
      the last one's supervised attention module, and need no parameter behind.
    scales: how many sizes of the picture it gives, 1 to `depth`. The heads of
      the smaller ones of stage 2 serve training only: published weights
      lack them, and take scales=1.
    remat: whether the backward pass computes each block anew, to save memory.
    dtype: of the computation; parameters, norms and results are float32.
  """

  features: int = 32
  depth: int = 3
  groups: int = 2
  bottleneck: int = 2
  stages: int = STAGES
  scales: int = 3
  remat: bool = False
  dtype: Any = 'float32'

  # Larger tiles are quicker, until the memory of three stages reaches 2.5 GB.
  TILING: ClassVar[dict[str, int]] = {'longest': 768, 'multiple': 64}

  def __post_init__(self):
    checks.at_least(REDUCTION, features=self.features)
    checks.at_least(1, depth=self.depth, groups=self.groups,
                    bottleneck=self.bottleneck)
    checks.between(1, STAGES, stages=self.stages)
    checks.between(1, self.depth, scales=self.scales)
    checks.dtype(self.dtype)
    super().__post_init__()

  def __call__(
      self, blur: types.Array, *, train: bool = False) -> list[types.Array]:
    return self.all_stages(blur, train=train)[-1]

  @nn.compact
  def all_stages(
      self, blur: types.Array, *, train: bool = False
  ) -> list[list[types.Array]]:
    """The images of every stage, the first one first: for deep supervision."""
    del train  # it has no dropout
    checks.images(blur)
    padded, corner = pad.reflect_to_multiple(
        blur, multiple=SIDES[-1] * 2**self.depth)
    blurs = pyramid.nearest(padded, levels=self.depth)
    results, before = [], None
    for s in range(self.stages):
      images, before = self._stage(blurs, s, before)
      results.append([
          pad.crop_at(image, corner=[side // 2**level for side in corner],
                      size=pyramid.size(blur.shape[1:3], level=level))
          for level, image in enumerate(images)])
    return results

  def own(self, params: Mapping[str, Any]) -> dict[str, Any]:
    """Of a tree with more stages or scales, what this network reads."""
    def reads(name):
      kind, _, number = name.rpartition('_')
      if kind == 'UpSampleRatio':
        return int(number) < self.stages * 2 * self.depth**2
      s = int(name.split('_')[1])
      is_head = s == self.stages - 1 and kind.endswith(
          ('supervised_attention_module', 'output_conv'))
      return s < self.stages and not (is_head and int(number) >= self.scales)

    found = {name: leaf for name, leaf in params.items() if reads(name)}
    for i in range(self.scales):
      # The picture alone: nobody reads what the last stage would pass on.
      name = f'stage_{self.stages - 1}_supervised_attention_module_{i}'
      if name in found:
        found[name] = {'Conv_1': found[name]['Conv_1']}
    return found

  def fewer(self, other: 'MAXIM') -> tuple[str, ...]:
    """Options in which `own` makes a tree of the other network fit this one."""
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
    widths = [self.features * 2**i for i in levels]
    encoded, x = [], None
    for i in levels:
      features = layers.Conv(widths[i], 3, dtype=self.dtype,
                             name=f'stage_{s}_input_conv_{i}')(blurs[i])
      skip = None
      if before:
        passed, encoders, decoders = before
        features, _ = block(CrossGating, f'input_fuse_sam_{i}',
                            features=widths[i], side=side(i))(
                                features, passed[i])
        skip = encoders[i] + decoders[i]
      # The finest level gets its features twice, as the authors trained it.
      x = jnp.concatenate([x if i else features, features], axis=-1)
      x, own = block(Encoder, f'encoder_block_{i}', features=widths[i],
                     side=side(i), groups=self.groups)(x, skip)
      encoded.append(own)

    for i in range(self.bottleneck):
      x = block(Bottleneck, f'global_block_{i}', features=widths[-1],
                side=SIDES[-1], groups=self.groups)(x)

    resample = _Resampler(self, s)
    skips, y = [None] * self.depth, x
    for i in reversed(levels):
      signal = resample(encoded, i, levels, widths[i])
      skips[i], y = block(
          CrossGating, f'cross_gating_block_{i}', features=widths[i],
          side=side(i), upsample=True)(signal, y)

    decoded = [None] * self.depth
    for i in reversed(levels):
      bridge = resample(skips, i, reversed(levels), widths[i])
      x = block(Decoder, f'decoder_block_{i}', features=widths[i],
                side=side(i), groups=self.groups)(x, bridge)
      decoded[i] = x
    images, passed = self._heads(s, decoded, blurs)
    return images, (passed, encoded, decoded)

  def _heads(self, s, decoded, blurs):
    """The images of stage s, and what it passes on to the next one."""
    images, passed = [], []
    last = s == self.stages - 1
    for i, (x, blur) in enumerate(zip(decoded, blurs, strict=True)):
      if s < STAGES - 1 and not (last and i >= self.scales):
        image, features = SupervisedAttention(
            features=x.shape[-1], image_only=last, dtype=self.dtype,
            name=f'stage_{s}_supervised_attention_module_{i}')(x, blur)
        passed.append(features)
      elif i < self.scales:
        image = blur + layers.Conv(
            3, 3, dtype=self.dtype, name=f'stage_{s}_output_conv_{i}')(
                x).astype(jnp.float32)
      else:
        break
      images.append(image)
    return images[:self.scales], passed

  def _wrapped(self, kind):
    return nn.remat(kind) if self.remat else kind


class _Resampler:
  """Features of several levels at the size of one: the UpSampleRatio modules.

  Numbered in the order of their calls, as the authors' names are. The 1x1
  convolution works on the smaller of both sizes, which is the same.
  """

  def __init__(self, net: MAXIM, stage: int):
    self._net = net
    self._next = stage * 2 * net.depth**2

  def __call__(self, xs, level, order, features):
    parts = []
    for j in order:
      conv = UpSampleRatio(features, dtype=self._net.dtype,
                           name=f'UpSampleRatio_{self._next}')
      self._next += 1
      if j < level:
        parts.append(conv(resize.shrink(xs[j], factor=2**(level - j))))
      else:
        parts.append(resize.enlarge(conv(xs[j]), factor=2**(j - level)))
    return jnp.concatenate(parts, axis=-1)


class UpSampleRatio(nn.Module):
  """A 1x1 convolution, one level of names below its own."""

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    return _conv(self, self.features, 'Conv_0')(x)


class Encoder(nn.Module):
  """(x, features of the stage before or None) -> (half as large, the skip).

  Without `down` it gives the skip alone: the block of the decoders.
  """

  features: int
  side: int
  groups: int
  dtype: Any
  down: bool = True

  @nn.compact
  def __call__(self, x, skip=None):
    x = shortcut = _conv(self, self.features, 'Conv_0')(x)
    for k in range(self.groups):
      x = MultiAxisGmlp(self.side, self.dtype,
                        name=f'SplitHeadMultiAxisGmlpLayer_{k}')(x)
      x = ChannelAttentionBlock(
          self.dtype, name=f'channel_attention_block_1{k}')(x)
    x = x + shortcut
    if skip is not None:
      x, _ = CrossGating(self.features, self.side, self.dtype,
                         name='cross_gating_block')(x, skip)
    if not self.down:
      return x
    down = layers.Conv(self.features, 4, stride=2, padding=1, dtype=self.dtype,
                       name='Conv_1')
    return down(x), x


class Decoder(nn.Module):
  """(x, features of all levels) -> twice as large."""

  features: int
  side: int
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, x, bridge):
    x = Double(self.features, self.dtype, name='ConvTranspose_0')(x)
    return Encoder(
        self.features, self.side, self.groups, self.dtype, down=False,
        name='UNetEncoderBlock_0')(jnp.concatenate([x, bridge], axis=-1))


class Bottleneck(nn.Module):
  """Multi-axis gMLPs, each followed by an MLP of channels with attention."""

  features: int
  side: int
  groups: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    x = shortcut = _conv(self, self.features, 'input_proj')(x)
    for k in range(self.groups):
      x = MultiAxisGmlp(self.side, self.dtype,
                        name=f'SplitHeadMultiAxisGmlpLayer_{k}')(x)
      x = ChannelMixingBlock(
          self.dtype, name=f'channel_attention_block_1_{k}')(x)
    return x + shortcut


class MultiAxisGmlp(nn.Module):
  """x + P(concat(grid gMLP(u), block gMLP(v))), u and v halves of gelu(Q x)."""

  side: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    y = _norm(self, 'LayerNorm_in')(x)
    y = nn.gelu(_dense(self, 2 * x.shape[-1], 'in_project')(y))
    u, v = jnp.split(y, 2, axis=-1)
    u = Gmlp('Grid', self.side, self.dtype, name='GridGmlpLayer')(u)
    v = Gmlp('Block', self.side, self.dtype, name='BlockGmlpLayer')(v)
    y = jnp.concatenate([u, v], axis=-1)
    return x + _dense(self, x.shape[-1], 'out_project')(y)


class Gmlp(nn.Module):
  """x + P(gating unit(gelu(Q x))), along the axis 'Grid' or 'Block'."""

  axis: str
  side: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    y = _norm(self, 'LayerNorm')(x)
    y = nn.gelu(_dense(self, 2 * x.shape[-1], 'in_project')(y))
    y = GatingUnit(self.axis, self.side, self.dtype,
                   name=f'{self.axis}GatingUnit')(y)
    return x + _dense(self, x.shape[-1], 'out_project')(y)


class GatingUnit(nn.Module):
  """u * (W norm(v) + b + 1), u and v: halves of the channels."""

  axis: str
  side: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    u, v = jnp.split(x, 2, axis=-1)
    v = _norm(self, 'intermediate_layernorm')(v)
    v = Positions(self.axis, self.side, self.dtype, name='Dense_0')(v)
    return u * (v + 1)


class CrossGating(nn.Module):
  """(x, y) -> (x', y'), each gated by the other.

    y' = y0 + P_y(a_y G_x(a_x)),  x' = x0 + P_x(a_x G_y(a_y)) + y',

  with x0 and y0 of `features` channels and a = gelu(Q norm(.)). With `upsample`
  y comes half as large as x.
  """

  features: int
  side: int
  dtype: Any
  upsample: bool = False

  @nn.compact
  def __call__(self, x, y):
    if self.upsample:
      y = Double(self.features, self.dtype, name='ConvTranspose_0')(y)
    x = _conv(self, self.features, 'Conv_0')(x)
    y = _conv(self, self.features, 'Conv_1')(y)
    a_x, gate_x = self._gate(x, 'x')
    a_y, gate_y = self._gate(y, 'y')
    project = lambda name: _dense(self, self.features, f'out_project_{name}')
    y = y + project('y')(a_y * gate_x)
    return x + project('x')(a_x * gate_y) + y, y

  def _gate(self, x, name):
    a = _norm(self, f'LayerNorm_{name}')(x)
    a = nn.gelu(_dense(self, self.features, f'in_project_{name}')(a))
    return a, MultiAxisGating(self.side, self.dtype,
                              name=f'SplitHeadMultiAxisGating_{name}')(a)


class MultiAxisGating(nn.Module):
  """P(concat(W_grid u, W_block v)), u and v: halves of gelu(Q norm(x))."""

  side: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    y = _norm(self, 'LayerNorm_in')(x)
    y = nn.gelu(_dense(self, 2 * x.shape[-1], 'in_project')(y))
    u, v = jnp.split(y, 2, axis=-1)
    u = Positions('Grid', self.side, self.dtype, name='Dense_0')(u)
    v = Positions('Block', self.side, self.dtype, name='Dense_1')(v)
    y = jnp.concatenate([u, v], axis=-1)
    return _dense(self, x.shape[-1], 'out_project')(y)


class Positions(nn.Module):
  """One matrix and one bias over the positions of a grid, or of each block."""

  axis: str
  side: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    count = self.side**2
    kernel = self.param('kernel', nn.initializers.lecun_normal(),
                        (count, count))
    bias = self.param('bias', nn.initializers.zeros, (count,))
    return positions.MIX[self.axis](
        x, kernel.astype(self.dtype), bias.astype(self.dtype), side=self.side)


class ChannelAttentionBlock(nn.Module):
  """x + attention(conv(leaky_relu(conv(norm(x))))), 3x3 (RCAB)."""

  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    conv = lambda name: layers.Conv(
        x.shape[-1], 3, dtype=self.dtype, name=name)
    y = conv('conv1')(_norm(self, 'LayerNorm')(x))
    y = conv('conv2')(layers.leaky_relu(y))
    return x + ChannelAttention(self.dtype, name='channel_attention')(y)


class ChannelMixingBlock(nn.Module):
  """x + attention(MLP(norm(x))), the MLP between the channels of a pixel."""

  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    y = ChannelMlp(self.dtype, name='channel_mixing')(
        _norm(self, 'LayerNorm')(x))
    return x + ChannelAttention(self.dtype, name='channel_attention')(y)


class ChannelMlp(nn.Module):
  """Dense, gelu, Dense, all of as many channels."""

  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    y = nn.gelu(_dense(self, x.shape[-1], 'Dense_0')(x))
    return _dense(self, x.shape[-1], 'Dense_1')(y)


class ChannelAttention(nn.Module):
  """x * sigmoid(Conv(relu(Conv(mean of x over the picture))))."""

  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    y = statistics.mean(x).astype(self.dtype)
    y = layers.relu(_conv(self, x.shape[-1] // REDUCTION, 'Conv_0')(y))
    return x * nn.sigmoid(_conv(self, x.shape[-1], 'Conv_1')(y))


class SupervisedAttention(nn.Module):
  """(x, blur) -> (image, x + Conv(x) * sigmoid(Conv(image))).

  The image is blur + Conv(x). With `image_only` the features are None.
  """

  features: int
  image_only: bool
  dtype: Any

  @nn.compact
  def __call__(self, x, blur):
    conv = lambda features, name: layers.Conv(
        features, 3, dtype=self.dtype, name=name)
    image = blur + conv(3, 'Conv_1')(x).astype(jnp.float32)
    if self.image_only:
      return image, None
    gate = nn.sigmoid(conv(self.features, 'Conv_2')(image))
    return image, x + conv(self.features, 'Conv_0')(x) * gate


class Double(nn.Module):
  """A transposed 2x2 convolution with a stride of 2: no pixels overlap.

    out[2 i + a, 2 j + b] = x[i, j] kernel[1 - a, 1 - b]
  """

  features: int
  dtype: Any

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    n, h, w, channels = x.shape
    kernel = self.param('kernel', nn.initializers.lecun_normal(),
                        (2, 2, channels, self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    kernel = kernel[::-1, ::-1].transpose(2, 0, 1, 3).astype(self.dtype)
    y = x.astype(self.dtype) @ kernel.reshape(channels, 4 * self.features)
    y = y.reshape(n, h, w, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(n, 2 * h, 2 * w, self.features)
    return y + bias.astype(self.dtype)[None, None, None, :]


def side(level: int) -> int:
  """Cells along a side of the grid, and pixels along that of a block."""
  return SIDES[level >= HIGH_RES]


def _norm(module, name):
  return layers.pixel_norm(name, epsilon=1e-6, dtype=module.dtype)


def _dense(module, features, name):
  return nn.Dense(features, dtype=module.dtype, name=name)


def _conv(module, features, name):
  return layers.Conv(features, 1, dtype=module.dtype, name=name)

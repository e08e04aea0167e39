"""The names and axes of weights in the papers' programs.

A layout is a row of `LAYOUTS`. It derives the options of the network from the
shapes in a file, and lists the pairs of their layers and ours, for both
directions of conversion.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from deblur_jax import errors
from deblur_jax.models import multiscale

Shapes = Mapping[str, tuple[int, ...]]   # their name -> shape


class Layer(NamedTuple):
  """A layer: their name without .weight, our path without its last name.

  Of a kind that is a single array, both names are complete.

  Attributes:
    theirs: their name.
    ours: our path.
    kind: a row of KINDS.
  """

  theirs: str
  ours: tuple[str, ...]
  kind: str = 'conv'


class Kind(NamedTuple):
  """The conversion of a layer's weight to ours; its bias is the same.

  Attributes:
    axes: of theirs, without `ones`, in our order.
    ones: axes of theirs that have length one and are not ours.
    rotated: whether a kernel is also rotated by 180 degrees.
    weight: our name of their `weight`; '' for a single array without such a
      name.
  """

  axes: tuple[int, ...]
  ones: tuple[int, ...] = ()
  rotated: bool = False
  weight: str = 'kernel'

  def to_ours(self, weight: np.ndarray) -> np.ndarray:
    """Converts a weight of theirs to ours."""
    weight = weight.squeeze(self.ones).transpose(self.axes)
    return weight[::-1, ::-1] if self.rotated else weight

  def to_theirs(self, weight: np.ndarray) -> np.ndarray:
    """Converts a weight of ours to theirs."""
    weight = weight[::-1, ::-1] if self.rotated else weight
    return np.expand_dims(weight.transpose(np.argsort(self.axes)), self.ones)


class Layout(NamedTuple):
  """A network of an authors' program.

  Attributes:
    about: the program and the network.
    role: a name in `ROLES`.
    network: the name of ours in `models.MODELS` or `models.DISCRIMINATORS`.
    names: a regular expression of all names of arrays.
    example: one of these names.
    options: (shapes, **options of the user) -> keyword arguments of our
      network; None where the shapes are of another network with similar names.
    layers: our network -> its layers.
    theirs: our network -> the options of their program for the same one. It
      raises a UserError where their program has no such network.
    subset: of GoPro, on which the authors trained their published weights.
    unused: a regular expression of names on which no output depends.
  """

  about: str
  role: str
  network: str
  names: str
  example: str
  options: Callable[..., dict[str, Any] | None]
  layers: Callable[[nn.Module], Iterator[Layer]]
  theirs: Callable[[nn.Module], dict[str, Any]]
  subset: str
  unused: str = r'(?!)'

  def place(self, nets: Mapping[str, Any]) -> str | None:
    """Returns the network's key in `config.nets`; None if it has none."""
    return next((name for name in ROLES[self.role] if name in nets), None)


# ---- SeungjunNah/DeepDeblur-PyTorch

def _deepdeblur_options(shapes: Shapes, *, rgb_range: float = 255):
  _check_range(rgb_range)
  head = _shape(shapes, 'body_models.0.body.0.weight')
  layers = _count(shapes, r'body_models\.0\.body\.(\d+)\.')
  return dict(
      scales=_count(shapes, r'body_models\.(\d+)\.'), blocks=layers - 2,
      features=head[0], kernel_size=head[-1], value_range=rgb_range)


def _deepdeblur_layers(net) -> Iterator[Layer]:
  for s in range(net.scales):
    body, scale = f'body_models.{s}.body', f'scale_{s}'
    blocks = multiscale.num_blocks(net)
    yield Layer(f'{body}.0', (scale, 'head'))
    for i in range(blocks):
      yield from _block(f'{body}.{i + 1}.body', (scale, f'block_{i:02d}'))
    yield Layer(f'{body}.{blocks + 1}', (scale, 'tail'))
    if s:
      yield Layer(f'conv_end_models.{s}.uppath.0', (f'up_{s}',))


def _deepdeblur_theirs(net) -> dict[str, Any]:
  _refuse(net.residual, 'residual=True', 'DeepDeblur-PyTorch')
  _refuse(net.attention != 'none', f'attention={net.attention}',
          'DeepDeblur-PyTorch')
  return dict(
      n_scales=net.scales, n_resblocks=multiscale.num_blocks(net),
      n_feats=net.features, kernel_size=net.kernel_size,
      rgb_range=net.value_range)


def _block(theirs, ours) -> Iterator[Layer]:
  yield Layer(f'{theirs}.0', (*ours, 'conv_0'))
  yield Layer(f'{theirs}.2', (*ours, 'conv_1'))


def _nah_options(shapes: Shapes, *, rgb_range: float = 255):
  _check_range(rgb_range)
  features = _shape(shapes, 'conv_layers.0.weight')[0]
  return dict(variant='code', features=features, scale=rgb_range)


def _nah_layers(net) -> Iterator[Layer]:
  for i in range(len(net.layout)):
    yield Layer(f'conv_layers.{i}', (f'conv_{i}',))
  yield Layer('dense', ('logit',))


def _nah_theirs(net) -> dict[str, Any]:
  _refuse(net.variant != 'code', f'variant={net.variant}', 'DeepDeblur-PyTorch')
  return dict(n_feats=2 * net.features, kernel_size=5, rgb_range=net.scale)


# ---- KupynOrest/DeblurGAN at 39e8a4b

def _deblurgan_options(shapes: Shapes, *, learn_residual: bool = True):
  if not isinstance(learn_residual, bool):
    raise errors.UserError(
        f'The option learn_residual is true or false, got {learn_residual!r}.')
  block = r'model\.(\d+)\.conv_block\.'
  if not _count(shapes, block):
    return None  # the discriminator has names of the same form
  head = _shape(shapes, 'model.1.weight')
  second = [_count(shapes, rf'model\.10\.conv_block\.({i})\.') for i in (5, 6)]
  if not any(second):
    raise errors.UserError(
        'it is of a later DeblurGAN, whose blocks lack their second '
        'convolution by mistake; the paper and commit 39e8a4b have two.')
  return dict(
      features=head[0], blocks=_count(shapes, block) - _BLOCKS,
      dropout=0.5 if second[1] else 0.0, residual=learn_residual)


_BLOCKS = 10   # the index of the first block


def _deblurgan_layers(net) -> Iterator[Layer]:
  yield Layer('model.1', ('head',))
  yield Layer('model.4', ('down_0',))
  yield Layer('model.7', ('down_1',))
  after = _BLOCKS + net.blocks
  for i in range(net.blocks):
    theirs, ours = f'model.{_BLOCKS + i}.conv_block', f'block_{i:02d}'
    # A dropout layer has an index, too.
    yield Layer(f'{theirs}.1', (ours, 'conv_0'))
    yield Layer(f'{theirs}.{6 if net.dropout else 5}', (ours, 'conv_1'))
  yield Layer(f'model.{after}', ('up_0',), 'transposed')
  yield Layer(f'model.{after + 3}', ('up_1',), 'transposed')
  yield Layer(f'model.{after + 7}', ('tail',))


def _deblurgan_theirs(net) -> dict[str, Any]:
  for option, wrong in {
      f'upsample={net.upsample}': net.upsample != 'transposed',
      f'attention={net.attention}': net.attention != 'none',
      f'dropout={net.dropout}': net.dropout not in (0.0, 0.5)}.items():
    _refuse(wrong, option, 'DeblurGAN')
  return dict(
      ngf=net.features, n_blocks=net.blocks, use_dropout=net.dropout > 0,
      norm='instance', learn_residual=net.residual)


def _patchgan_options(shapes: Shapes):
  if _count(shapes, r'model\.(\d+)\.conv_block\.'):
    return None
  kernels = [shape for shape in shapes.values() if len(shape) == 4]
  return dict(
      features=_shape(shapes, 'model.0.weight')[0], depth=len(kernels) - 2)


def _patchgan_layers(net) -> Iterator[Layer]:
  for i in range(len(net.layout)):
    yield Layer(f'model.{max(0, 3 * i - 1)}', (f'conv_{i}',))


def _patchgan_theirs(net) -> dict[str, Any]:
  _refuse(net.norm != 'instance', f'norm={net.norm}', 'DeblurGAN')
  _refuse(net.padding != 2, f'padding={net.padding}', 'DeblurGAN')
  return dict(ndf=net.features, n_layers=net.depth, norm='instance')


# ---- hieubkset/pytorch-image-deblurring

def _single_options(shapes: Shapes, *, skip: bool):
  head = _shape(shapes, 'head.0.weight')
  block = _shape(shapes, 'body.0.body.0.weight')
  return dict(
      blocks=_count(shapes, r'body\.(\d+)\.'), features=head[0],
      kernel_size=block[-1], end_kernel_size=head[-1], skip=skip)


def _single_layers(net) -> Iterator[Layer]:
  yield Layer('head.0', ('head',))
  for i in range(net.blocks):
    yield from _block(f'body.{i}.body', (f'block_{i:02d}',))
  yield Layer('tail.0', ('tail',))


def _single(skip: bool) -> Layout:
  def theirs(net):
    _refuse(net.skip != skip, f'skip={net.skip}', f'a net with skip={skip}')
    _refuse(net.kernel_size != 3, f'kernel_size={net.kernel_size}', 'theirs')
    _refuse(net.end_kernel_size != 5,
            f'end_kernel_size={net.end_kernel_size}', 'theirs')
    return dict(n_feats=net.features, n_resblocks=net.blocks, is_skip=skip)

  return Layout(
      'hieubkset/pytorch-image-deblurring: SingleScaleNet, '
      + ('with skip' if skip else 'without skip'),
      'generator', 'single_scale',
      r'(head\.0|body\.\d+\.body\.\d+|tail\.0)\.\w+',
      'body.0.body.0.weight',
      lambda shapes: _single_options(shapes, skip=skip), _single_layers, theirs,
      'blur')


# ---- megvii-research/NAFNet

def _nafnet_options(shapes: Shapes, *, local: int = 384):
  levels = range(_count(shapes, r'downs\.(\d+)\.'))
  return dict(
      features=_shape(shapes, 'intro.weight')[0],
      blocks=tuple(_count(shapes, rf'encoders\.{i}\.(\d+)\.') for i in levels),
      middle=_count(shapes, r'middle_blks\.(\d+)\.'),
      up_blocks=tuple(_count(shapes, rf'decoders\.{i}\.(\d+)\.')
                      for i in reversed(levels)),
      local=local)


def _nafnet_layers(net) -> Iterator[Layer]:
  levels = len(net.blocks)
  yield Layer('intro', ('head',))
  for i in range(levels):
    yield from _naf_blocks(f'encoders.{i}', f'encode_{i}', net.blocks[i])
    yield Layer(f'downs.{i}', (f'down_{i}',))
  yield from _naf_blocks('middle_blks', 'middle', net.middle)
  for i in range(levels):   # theirs begin at the lowest level
    level = levels - 1 - i
    yield Layer(f'ups.{i}.0', (f'up_{level}',))
    yield from _naf_blocks(
        f'decoders.{i}', f'decode_{level}', net.up_blocks[level])
  yield Layer('ending', ('tail',))


def _naf_blocks(theirs, ours, count) -> Iterator[Layer]:
  for i in range(count):
    there, here = f'{theirs}.{i}', f'{ours}_{i:02d}'
    for name, own, kind in (
        ('norm1', 'norm_0', 'norm'), ('conv1', 'expand_0', 'conv'),
        ('conv2', 'depth', 'depthwise'), ('sca.1', 'weigh', 'conv'),
        ('conv3', 'project_0', 'conv'), ('beta', 'beta', 'channels'),
        ('norm2', 'norm_1', 'norm'), ('conv4', 'expand_1', 'conv'),
        ('conv5', 'project_1', 'conv'), ('gamma', 'gamma', 'channels')):
      yield Layer(f'{there}.{name}', (here, own), kind)


def _nafnet_theirs(net) -> dict[str, Any]:
  _refuse(net.expansion != 2, f'expansion={net.expansion}', 'NAFNet')
  return dict(
      width=net.features, enc_blk_nums=list(net.blocks),
      middle_blk_num=net.middle, dec_blk_nums=list(reversed(net.up_blocks)))


# ---- swz30/Restormer

# Of each level: their names before and after the lowest one.
_RESTORMER_DOWN = ('down1_2', 'down2_3', 'down3_4')
_RESTORMER_UP = ('up2_1', 'up3_2', 'up4_3')


def _restormer_options(shapes: Shapes, *, local: int = 0):
  features = _shape(shapes, 'patch_embed.proj.weight')[0]
  lowest, hidden, *_ = _shape(shapes, 'latent.0.ffn.project_out.weight')
  # Their factor is not in the file; int(channels * factor) is.
  expansion = 2.66
  if int(lowest * expansion) != hidden:
    expansion = (hidden + 0.5) / lowest
  names = (*(f'encoder_level{i}' for i in (1, 2, 3)), 'latent')
  return dict(
      features=features,
      blocks=tuple(_count(shapes, rf'{name}\.(\d+)\.') for name in names),
      refinement=_count(shapes, r'refinement\.(\d+)\.'),
      heads=shapes.get('encoder_level1.0.attn.temperature', (1,))[0],
      expansion=expansion, local=local)


def _restormer_layers(net) -> Iterator[Layer]:
  yield Layer('patch_embed.proj', ('head',))
  for i, down in enumerate(_RESTORMER_DOWN):
    yield from _restormer_blocks(
        f'encoder_level{i + 1}', f'down_{i}', net.blocks[i])
    yield Layer(f'{down}.body.0', (f'shrink_{i}',))
  yield from _restormer_blocks('latent', 'lowest', net.blocks[3])
  for i, up in reversed(list(enumerate(_RESTORMER_UP))):
    yield Layer(f'{up}.body.0', (f'grow_{i}',))
    if i:
      yield Layer(f'reduce_chan_level{i + 1}', (f'join_{i}',))
    yield from _restormer_blocks(
        f'decoder_level{i + 1}', f'up_{i}', net.blocks[i])
  yield from _restormer_blocks('refinement', 'refine', net.refinement)
  yield Layer('output', ('tail',))


def _restormer_blocks(theirs, ours, count) -> Iterator[Layer]:
  for i in range(count):
    there, here = f'{theirs}.{i}', f'{ours}_{i}'
    for name, own, kind in (
        ('norm1.body', ('norm_0',), 'norm'),
        ('attn.temperature', ('attention', 'temperature'), 'heads'),
        ('attn.qkv', ('attention', 'expand'), 'conv'),
        ('attn.qkv_dwconv', ('attention', 'depth'), 'depthwise'),
        ('attn.project_out', ('attention', 'project'), 'conv'),
        ('norm2.body', ('norm_1',), 'norm'),
        ('ffn.project_in', ('forward', 'expand'), 'conv'),
        ('ffn.dwconv', ('forward', 'depth'), 'depthwise'),
        ('ffn.project_out', ('forward', 'project'), 'conv')):
      yield Layer(f'{there}.{name}', (here, *own), kind)


def _restormer_theirs(net) -> dict[str, Any]:
  _refuse(len(net.blocks) != 4, f'{len(net.blocks)} levels', 'Restormer')
  return dict(
      dim=net.features, num_blocks=list(net.blocks),
      num_refinement_blocks=net.refinement,
      heads=[net.heads * 2**i for i in range(4)],
      ffn_expansion_factor=net.expansion)


# ---- shared functions

def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
  """The shape of a convolution's weight, which must be in the file."""
  if len(shapes.get(name, ())) != 4:
    raise errors.UserError(
        f'{name} is missing or no convolution: the size of the network follows '
        'from its shape.')
  return shapes[name]


def _count(shapes: Shapes, pattern: str) -> int:
  """One more than the highest number that the pattern matches in the names."""
  found = [re.match(pattern, name) for name in shapes]
  return 1 + max((int(match[1]) for match in found if match), default=-1)


def _check_range(rgb_range) -> None:
  if not isinstance(rgb_range, int | float) or rgb_range <= 0:
    raise errors.UserError(
        f'The option rgb_range must be a number above 0, got {rgb_range!r}.')


def _refuse(wrong: bool, option: str, program: str) -> None:
  if wrong:
    raise errors.UserError(f'{program} has no {option}.')


# Instance norms of old versions of PyTorch write them, but do not use them.
_STATISTICS = r'.*\.(running_mean|running_var|num_batches_tracked)'
# role -> its names in `config.nets`, in supervised and in adversarial methods
ROLES = {'generator': ('net', 'generator'), 'discriminator': ('discriminator',)}
KINDS = {
    'conv': Kind((2, 3, 1, 0)),                        # OIHW
    'transposed': Kind((2, 3, 0, 1), rotated=True),    # IOHW
    'depthwise': Kind((1, 2, 0), ones=(1,)),           # O1HW
    'norm': Kind((0,), weight='scale'),
    'channels': Kind((0,), ones=(0, 2, 3), weight=''),  # 1C11
    'heads': Kind((0,), ones=(1, 2), weight=''),        # N11
}
LAYOUTS = {
    'deepdeblur_pytorch': Layout(
        'SeungjunNah/DeepDeblur-PyTorch: MSResNet of any K', 'generator',
        'multiscale',
        r'(body_models\.\d+\.body|conv_end_models\.\d+\.uppath)\.\d+'
        r'(\.body\.\d+)?\.\w+',
        'body_models.0.body.0.weight',
        _deepdeblur_options, _deepdeblur_layers, _deepdeblur_theirs,
        'blur_gamma'),
    'deepdeblur_pytorch_discriminator': Layout(
        'SeungjunNah/DeepDeblur-PyTorch: Discriminator', 'discriminator',
        'nah_discriminator', r'(conv_layers\.\d+|dense)\.\w+',
        'conv_layers.0.weight', _nah_options, _nah_layers, _nah_theirs,
        'blur_gamma'),
    'deblurgan': Layout(
        'KupynOrest/DeblurGAN at 39e8a4b: ResnetGenerator', 'generator',
        'resnet', r'model\.\d+(\.conv_block\.\d+)?\.\w+',
        'model.10.conv_block.1.weight', _deblurgan_options, _deblurgan_layers,
        _deblurgan_theirs, 'blur', unused=_STATISTICS),
    'deblurgan_discriminator': Layout(
        'KupynOrest/DeblurGAN at 39e8a4b: NLayerDiscriminator', 'discriminator',
        'patchgan', r'model\.\d+\.\w+', 'model.0.weight', _patchgan_options,
        _patchgan_layers, _patchgan_theirs, 'blur', unused=_STATISTICS),
    'hieubkset_single_noskip': _single(skip=False),
    'hieubkset_single_skip': _single(skip=True),
    'nafnet': Layout(
        'megvii-research/NAFNet: NAFNet, and NAFNetLocal by its windows',
        'generator', 'nafnet',
        r'(intro|ending|downs\.\d+|ups\.\d+\.0)\.\w+'
        r'|((encoders|decoders)\.\d+|middle_blks)\.\d+'
        r'\.(beta|gamma|(norm[12]|conv[1-5]|sca\.1)\.\w+)',
        'intro.weight', _nafnet_options, _nafnet_layers, _nafnet_theirs,
        'blur'),
    'restormer': Layout(
        'swz30/Restormer: Restormer, and RestormerLocal of megvii-research/TLC',
        'generator', 'restormer',
        r'(patch_embed\.proj|(down|up)\d_\d\.body\.0|reduce_chan_level\d'
        r'|output)\.\w+|((en|de)coder_level\d|latent|refinement)\.\d+'
        r'\.(attn\.temperature|(norm\d\.body|(attn|ffn)\.\w+)\.\w+)',
        'patch_embed.proj.weight', _restormer_options, _restormer_layers,
        _restormer_theirs, 'blur'),
}
# Networks that this package does not have: a pattern of names -> the message.
REFUSED = {
    r'model\.model\.\d+\.model': (
        "DeblurGAN's U-Net (KupynOrest/DeblurGAN, unet_128 and unet_256): the "
        "network 'unet' of this package is another one, so the weights do not "
        'fit'),
    r'fpn\.|head[1-4]\.block\d': (
        'DeblurGAN-v2 (VITA-Group/DeblurGANv2): its encoders are '
        'Inception-ResNet-v2, MobileNetV2 and DenseNet with batch norm; the '
        "network 'fpn' of this package is another one, with instance norm, so "
        'the weights do not fit'),
}

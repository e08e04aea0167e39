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
  """A convolution: their name without .weight, our path without /kernel."""

  theirs: str
  ours: tuple[str, ...]
  kind: str = 'conv'   # a row of KINDS


class Kind(NamedTuple):
  """The conversion of a weight's axes to ours, [kh, kw, c_in, c_out]."""

  axes: tuple[int, int, int, int]
  rotated: bool        # whether the kernel is also rotated by 180 degrees

  def to_ours(self, weight: np.ndarray) -> np.ndarray:
    """Converts a weight of theirs to a kernel [kh, kw, c_in, c_out]."""
    weight = weight.transpose(self.axes)
    return weight[::-1, ::-1] if self.rotated else weight

  def to_theirs(self, kernel: np.ndarray) -> np.ndarray:
    """Converts a kernel [kh, kw, c_in, c_out] to a weight of theirs."""
    kernel = kernel[::-1, ::-1] if self.rotated else kernel
    return kernel.transpose(np.argsort(self.axes))


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
      lambda shapes: _single_options(shapes, skip=skip), _single_layers, theirs)


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
    'conv': Kind((2, 3, 1, 0), False),        # OIHW
    'transposed': Kind((2, 3, 0, 1), True),   # IOHW
}
LAYOUTS = {
    'deepdeblur_pytorch': Layout(
        'SeungjunNah/DeepDeblur-PyTorch: MSResNet of any K', 'generator',
        'multiscale',
        r'(body_models\.\d+\.body|conv_end_models\.\d+\.uppath)\.\d+'
        r'(\.body\.\d+)?\.\w+',
        'body_models.0.body.0.weight',
        _deepdeblur_options, _deepdeblur_layers, _deepdeblur_theirs),
    'deepdeblur_pytorch_discriminator': Layout(
        'SeungjunNah/DeepDeblur-PyTorch: Discriminator', 'discriminator',
        'nah_discriminator', r'(conv_layers\.\d+|dense)\.\w+',
        'conv_layers.0.weight', _nah_options, _nah_layers, _nah_theirs),
    'deblurgan': Layout(
        'KupynOrest/DeblurGAN at 39e8a4b: ResnetGenerator', 'generator',
        'resnet', r'model\.\d+(\.conv_block\.\d+)?\.\w+',
        'model.10.conv_block.1.weight', _deblurgan_options, _deblurgan_layers,
        _deblurgan_theirs, unused=_STATISTICS),
    'deblurgan_discriminator': Layout(
        'KupynOrest/DeblurGAN at 39e8a4b: NLayerDiscriminator', 'discriminator',
        'patchgan', r'model\.\d+\.\w+', 'model.0.weight', _patchgan_options,
        _patchgan_layers, _patchgan_theirs, unused=_STATISTICS),
    'hieubkset_single_noskip': _single(skip=False),
    'hieubkset_single_skip': _single(skip=True),
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

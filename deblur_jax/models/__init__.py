"""Networks: pure linen modules, and the table of their records.

A network is a file of this folder and a row of NETWORKS. The record
(`record.Network`) carries its kind and what methods, files and tests need to
know of it. The kinds:

* A restorer takes images [n, h, w, 3] in [0, 1] and returns a list of images,
  finest first. With an option `window` it takes as many frames of a video,
  [n, h, w, 3 * window], and restores the middle one. All restorers accept
  `net.apply(variables, blur, train=True, rngs={'dropout': key})`.
* A discriminator takes images and returns a map of logits [n, h', w', 1],
  float32.
* A kernel estimator takes images and returns the kernels that blurred them, a
  `kernel_estimator.Estimate`. A blur classifier returns logits [n, types].
* A prior is not trained but fitted to one picture. It takes a code that the
  caller keeps, noise of the shape [n, *net.code(size)] for images of `size` =
  (h, w). `net.apply(variables, z, size=size)` is [n, h, w, channels] in (0, 1),
  float32. `PRESETS` has those of the papers. A kernel prior takes [n, depth]
  and returns kernels [n, kh, kw].
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.interpreters import partial_eval

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.models import (
  attention,
  blur_classifier,
  deep_decoder,
  fpn,
  kernel_estimator,
  kernel_fourier,
  kernel_net,
  maxim,
  maxim_files,
  maxim_student,
  mimo_unet,
  multiscale,
  nafnet,
  nah_discriminator,
  patchgan,
  receptive_field,
  resnet,
  restormer,
  single_scale,
  skip,
  srn,
  unet,
  unet_prior,
)
from deblur_jax.models.prior_architectures import PRESETS as PRESETS
from deblur_jax.models.record import KINDS as KINDS
from deblur_jax.models.record import Network as Network
from deblur_jax.state import Array, Params

MAX_OPTION = 4096    # of numbers: features, blocks, sizes of kernels

_of_layout = lambda net: receptive_field.receptive_field(net.layout)

NETWORKS: dict[str, Network] = {
    'multiscale': Network(
        multiscale.MultiScale, 'restorer',
        dict(scales=2, blocks=1, features=4, residual=True), identity='tail'),
    'single_scale': Network(
        single_scale.SingleScale, 'restorer', dict(blocks=1, features=4)),
    'resnet': Network(
        resnet.ResNet, 'restorer', dict(blocks=1, features=4),
        identity='tail'),
    'unet': Network(
        unet.UNet, 'restorer', dict(levels=1, features=4, dropout=0.5),
        identity='tail'),
    'fpn': Network(
        fpn.FPN, 'restorer',
        dict(pyramid=4, features=2, widths=(2,) * 5, repeats=(1,) * 5,
             expansion=2), identity='tail'),
    'restormer': Network(
        restormer.Restormer, 'restorer',
        dict(features=4, blocks=(1, 1), refinement=0), identity='tail'),
    'srn': Network(
        srn.SRN, 'restorer',
        dict(scales=2, features=2, blocks=0, residual=True), identity='tail'),
    'mimo_unet': Network(
        mimo_unet.MimoUNet, 'restorer', dict(features=4, blocks=0),
        scales=mimo_unet.SCALES, identity='tail'),
    'nafnet': Network(
        nafnet.NAFNet, 'restorer',
        dict(features=2, blocks=(1,), up_blocks=(1,), middle=0),
        identity='tail'),
    'hourglass': Network(
        skip.Hourglass, 'restorer', dict(down=(4,), skip=2)),
    'maxim': Network(
        maxim.MAXIM, 'restorer',
        dict(features=4, depth=1, groups=1, bottleneck=1, stages=1, scales=1),
        pyramid=maxim.PYRAMID, shapes=maxim_files.leaves,
        training_only=maxim_files.training_only, kept=maxim_student.kept),
    'patchgan': Network(
        patchgan.PatchGAN, 'discriminator', dict(depth=1, features=4),
        receptive_field=_of_layout),
    'nah_discriminator': Network(
        nah_discriminator.NahDiscriminator, 'discriminator',
        dict(features=2, variant='paper'), receptive_field=_of_layout),
    'kernel_cnn': Network(
        kernel_estimator.KernelCNN, 'kernel_estimator',
        dict(size=7, features=4, blocks=0)),
    'kernel_fourier': Network(
        kernel_fourier.KernelFourier, 'kernel_estimator',
        dict(size=7, features=4, blocks=0)),
    'kernel_mixture': Network(
        kernel_estimator.KernelMixture, 'kernel_estimator',
        dict(size=7, features=4, blocks=0)),
    'blur_type': Network(
        blur_classifier.BlurType, 'blur_classifier',
        dict(features=4, blocks=0)),
    'skip': Network(skip.Skip, 'prior', dict(depth=3, down=(4,), skip=2)),
    'unet_prior': Network(
        unet_prior.UNetPrior, 'prior',
        dict(depth=3, num_layers=2, features=4)),
    'deep_decoder': Network(
        deep_decoder.DeepDecoder, 'prior', dict(features=4, levels=1)),
    'kernel_net': Network(
        kernel_net.KernelNet, 'kernel_prior',
        dict(size=(3, 5), hidden=7, depth=4)),
}
# Name -> module, of one kind each.
_of_kind = lambda kind: {name: network.module
                         for name, network in NETWORKS.items()
                         if network.kind == kind}
MODELS = _of_kind('restorer')
DISCRIMINATORS = _of_kind('discriminator')
KERNEL_ESTIMATORS = _of_kind('kernel_estimator')
CLASSIFIERS = _of_kind('blur_classifier')
PRIORS = _of_kind('prior')
KERNEL_PRIORS = _of_kind('kernel_prior')
# What the option `attention` of restorers may be.
ATTENTION = attention.ATTENTION
_BY_MODULE = {network.module: network for network in NETWORKS.values()}


def build(*, name: str, where: str = 'nets', **kwargs) -> nn.Module:
  """A network from one leaf of the config, such as `nets.net`.

  Args:
    name: a row of NETWORKS.
    where: the place of the leaf, for messages.
    **kwargs: its options.

  Returns:
    The module.

  Raises:
    UserError: an unknown name or option, or a value that does not fit.
  """
  network = errors.look_up(NETWORKS, name, what='network')
  for option, value in kwargs.items():
    # A network of a million blocks would be traced for days.
    if any(isinstance(leaf, int | float) and leaf > MAX_OPTION
           for leaf in jax.tree.leaves(value)):
      raise errors.UserError(
          f'{where}.{option} must be at most {MAX_OPTION:,}, got '
          f'{errors.shown(value)}.')
  return call(network.module, kwargs=kwargs, where=where)


def record_of(net: nn.Module) -> Network:
  """The record of a network.

  Args:
    net: of a module of NETWORKS.

  Returns:
    The row.
  """
  return _BY_MODULE[type(net)]


def check_kind(
    net: nn.Module, table: Mapping[str, type[nn.Module]], *, where: str
) -> None:
  """Refuses a network of another kind.

  Args:
    net: the network.
    table: the networks of the wanted kind, such as MODELS.
    where: its place in the config, for the message.

  Raises:
    UserError: the network is not in the table.
  """
  if type(net) not in table.values():
    raise errors.UserError(
        f'{where} must be one of {", ".join(sorted(table))}, got a '
        f'{type(net).__name__}.')


def check_scales(net: nn.Module, crop: tuple[int, int]) -> None:
  """Refuses crops that a restorer's scales do not halve exactly.

  The targets are a pyramid of the crop and must have the sizes of the scales.

  Args:
    net: a restorer.
    crop: height and width in pixels.

  Raises:
    UserError: a side is not divisible.
  """
  count = scales(net)
  if any(side % 2**(count - 1) for side in crop):
    raise errors.UserError(
        f'data.loader.crop = {crop[0]} is not divisible by 2^(K-1) = '
        f'{2**(count - 1)} for K = {count} scales.')


def check_crop(
    net: nn.Module, crop: tuple[int, int], *, where: str) -> None:
  """Refuses crops that are too small for a network.

  Args:
    net: the network.
    crop: height and width in pixels.
    where: its place in the config, for the message.

  Raises:
    UserError: a side is too small.
  """
  if min(crop) < least_crop(net):
    raise errors.UserError(
        f'data.loader.crop = {min(crop)} is below the {least_crop(net)} pixels '
        f'that {where} needs.')


def count_parameters(params: Params) -> int:
  """The number of values in a tree.

  Args:
    params: arrays, or their shapes.

  Returns:
    The sum of their sizes.
  """
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def shapes(net: nn.Module) -> Params:
  """The parameters of a network as `jax.ShapeDtypeStruct`s.

  Args:
    net: a network that takes images.

  Returns:
    The tree of its parameters.
  """
  if of_leaves := record_of(net).shapes:
    return traverse_util.unflatten_dict(
        {name: jax.ShapeDtypeStruct(shape, jnp.float32)
         for name, shape in of_leaves(net).items()}, sep='/')
  image = jax.ShapeDtypeStruct((1, *_least_input(net)), jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), image)['params']


def init(
    net: nn.Module, key: Array, *, known: Params | None = None
) -> Params:
  """Initial parameters of a network.

  They are made for a small image, since their shapes do not depend on its size,
  and eagerly: jit and `lazy_init` compile the random numbers of 120 layers for
  a minute. The result for the image is traced and not computed.

  Args:
    net: the network.
    key: of the random numbers.
    known: a part of the parameters, which is taken as it is.

  Returns:
    The tree of its parameters.
  """
  image = jnp.zeros((1, *_least_input(net)))
  traced, like = jax.make_jaxpr(
      lambda key: net.init(key, image)['params'], return_shape=True)(key)
  there = traverse_util.flatten_dict(known or {})
  paths = list(traverse_util.flatten_dict(like))
  leaves, tree = jax.tree.flatten(traverse_util.unflatten_dict(
      {path: path not in there for path in paths}))
  needed, _ = partial_eval.dce_jaxpr(traced.jaxpr, leaves, instantiate=True)
  drawn = iter(jax.core.eval_jaxpr(needed, traced.consts, key))
  fresh = traverse_util.flatten_dict(jax.tree.unflatten(
      tree, [next(drawn) if one else None for one in leaves]))
  return traverse_util.unflatten_dict({**fresh, **there})


def _least_input(net):
  """The shape of a small input of a network, without the batch."""
  kind = record_of(net).kind
  if kind == 'prior':
    return net.code((32, 32))
  if kind == 'kernel_prior':
    return (net.depth,)
  size = max(32, least_crop(net))
  return size, size, 3 * window(net)


def scales(net: nn.Module) -> int:
  """How many images a restorer returns.

  Args:
    net: the restorer.

  Returns:
    K, at least 1.
  """
  return getattr(net, 'scales', record_of(net).scales)


def pyramid(net: nn.Module) -> str | None:
  """How a restorer shrinks pictures: its scales are on the grid of that.

  Args:
    net: the restorer.

  Returns:
    A row of `ops.pyramid.PYRAMIDS`; None for a network of one scale.
  """
  # The FPN's option of this name is a number.
  return None if scales(net) == 1 else getattr(
      net, 'pyramid', record_of(net).pyramid)


def least_crop(net: nn.Module) -> int:
  """The smallest image that a network takes.

  Args:
    net: the network.

  Returns:
    Its side in pixels: 1 for most networks.
  """
  return getattr(net, 'least_crop', 1)


def window(net: nn.Module) -> int:
  """How many frames of a video a network takes.

  Args:
    net: the network.

  Returns:
    An odd number: 1 for most networks.
  """
  return getattr(net, 'window', 1)


def own(net: nn.Module, params: Params) -> Params:
  """The parameters of a tree that a network reads, without tracing it.

  A file may serve several networks: fewer stages of MAXIM leave the rest.

  Args:
    net: the network.
    params: a tree that may hold more.

  Returns:
    The part of the tree.
  """
  return net.own(params) if hasattr(net, 'own') else params


def fewer(net: nn.Module, other: nn.Module) -> tuple[str, ...]:
  """Options in which a network may read a part of another one's parameters.

  Args:
    net: the network.
    other: one of the same module, see `own`.

  Returns:
    The names of the options.
  """
  return net.fewer(other) if hasattr(net, 'fewer') else ()


def kept(
    net: nn.Module, options: Mapping[str, Any], *, where: str
) -> Params:
  """The values of a network's parameters that a smaller one has, too.

  Args:
    net: the network.
    options: in which the smaller one differs.
    where: their place in the config.

  Returns:
    A tree as the parameters, of arrays of bools.

  Raises:
    UserError: networks of this module cannot become smaller.
  """
  network = record_of(net)
  if not network.kept:
    able = ', '.join(name for name, one in NETWORKS.items() if one.kept)
    raise errors.UserError(
        f'{where}: only {able} can become smaller, not {type(net).__name__}.')
  own = {field.name: getattr(net, field.name)
         for field in dataclasses.fields(net)
         if field.name not in ('parent', 'name')}
  return network.kept(
      call(network.module, own | dict(options), where=where), net)


def training_only(net: nn.Module) -> set[str]:
  """Names of parameters that only training reads, such as heads of scales.

  Published weights may lack them.

  Args:
    net: the network.

  Returns:
    Paths of leaves, joined by '/'.
  """
  return record_of(net).training_only(net)


def tiling(net: nn.Module) -> dict[str, float]:
  """Keywords of `tiling.build` that suit a network.

  Args:
    net: the network.

  Returns:
    Its property `tiling`; {} for most networks.
  """
  return dict(getattr(net, 'tiling', {}))

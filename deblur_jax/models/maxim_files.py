"""Reads files of MAXIM's weights, and derives the network from them.

There are three formats, with the names of the authors' tree joined by '/':

  .npz           the authors' file, with 'opt/target/' or 'params/' before each
                 name; the rest of it is the state of their optimizer
  .safetensors   the tree alone
  a folder       the graph of TensorFlow.js that jax2tf made, see `ops.tfjs`

The last of the authors' stages returns its pictures by `stage_S_output_conv_I`.
Here this holds for the third stage; an earlier last stage returns them by the
same convolution of its supervised attention module, so a file of fewer stages
has another name for it.

The shapes follow from the options of the network by `leaves`: a trace of the
network takes seconds.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from deblur_jax import errors
from deblur_jax.models import maxim, maxim_blocks
from deblur_jax.ops import tfjs, weight_files
from deblur_jax.state import Params

SUFFIXES = ('.npz', '.safetensors')
WHAT = "MAXIM's weights: .npz, .safetensors or a folder of TensorFlow.js"
# Of several trees in a file the first of these is read.
PREFIXES = ('', 'params/', 'opt/target/')
_HEAD = 'stage_0_input_conv_0/kernel'
_MAX_LISTED = 4

Shapes = dict[str, tuple[int, ...]]


class Weights(NamedTuple):
  """The content of a file.

  Attributes:
    params: of the network, float32.
    network: its keywords for `models.build`; with fewer scales than possible if
      the file lacks the heads of the smaller ones.
    prefix: the part before the names in the file.
    names: name in the file, without the prefix -> (name here, dtype there).
    lacking: shapes of the heads that the file lacks; they serve training only.
    others: names in the file that are no parameters.
  """

  params: Params
  network: dict[str, Any]
  prefix: str
  names: dict[str, tuple[str, str]]
  lacking: Shapes
  others: list[str]


def holds(path: str | os.PathLike) -> bool:
  """Whether a file or folder holds MAXIM's weights, by the names in it.

  Args:
    path: of the file or folder.

  Returns:
    True if it does.

  Raises:
    UserError: a .npz or .safetensors that cannot be read.
  """
  if tfjs.is_folder(path):
    return True
  path = pathlib.Path(path)
  return (path.suffix in SUFFIXES and path.is_file()
          and any(map(_is_head, weight_files.names(path, what=WHAT))))


def read(path: str | os.PathLike) -> Weights:
  """Reads the weights and derives their network.

  Args:
    path: of the file or folder.

  Returns:
    The weights.

  Raises:
    UserError: no such file, not MAXIM's, or leaves of the network are missing,
      left over, of another shape or not finite.
  """
  path = pathlib.Path(path)
  if tfjs.is_folder(path):
    everything = tfjs.read(path)
    prefix = _prefix(everything, path)
    found = {name.removeprefix(prefix): value
             for name, value in everything.items() if name.startswith(prefix)}
    names = list(everything)
  else:
    names = weight_files.names(path, what=WHAT)
    prefix = _prefix(names, path)
    found = weight_files.read(path, what=WHAT, prefix=prefix)
  network, ours = _network({name: value.shape
                            for name, value in found.items()}, path)
  net = maxim.MAXIM(**network)
  arrays = {ours.get(name, name): value for name, value in found.items()}
  params = net.own(traverse_util.unflatten_dict(arrays, sep='/'))
  flat = traverse_util.flatten_dict(params, sep='/')
  check(net, flat, what=str(path))
  others = [f'{name} ({value.dtype})' for name, value in flat.items()
            if not jnp.issubdtype(value.dtype, jnp.floating)]
  if others:
    raise errors.UserError(
        f'{path} has arrays that are no floats: {some(others)}.')
  values = {name: value.astype(np.float32) for name, value in flat.items()}
  broken = [name for name, value in values.items()
            if not np.isfinite(value).all()]
  if broken:
    raise errors.UserError(
        f'{path} has values that are not finite in {some(broken)}.')
  whole = leaves(net.clone(scales=net.depth))
  return Weights(
      traverse_util.unflatten_dict(values, sep='/'),
      {'name': 'maxim'} | network, prefix,
      {name: (ours.get(name, name), str(value.dtype))
       for name, value in found.items() if ours.get(name, name) in values},
      {name: shape for name, shape in whole.items() if name not in values},
      [name for name in names if not name.startswith(prefix)])


def their_names(net: maxim.MAXIM) -> dict[str, str]:
  """The names of parameters in the authors' tree.

  Args:
    net: the network.

  Returns:
    Name here -> name in their tree of a network of as many stages.
  """
  return {name: _rename(name, net.stages, outwards=True)
          for name in leaves(net)}


def check(
    net: maxim.MAXIM, flat: Mapping[str, Any], *, what: str) -> None:
  """Refuses arrays that are not the parameters of a network.

  Args:
    net: the network.
    flat: arrays by name.
    what: their source, at the head of the message.

  Raises:
    UserError: arrays are missing, left over or of another shape.
  """
  expected = leaves(net)
  missing = [name for name in expected if name not in flat]
  more = [name for name in flat if name not in expected]
  other = [f'{name} {flat[name].shape} instead of {shape}'
           for name, shape in expected.items()
           if name in flat and flat[name].shape != shape]
  wrong = [f'{len(names)} {kind}: {some(names)}' for kind, names in (
      ('missing', missing), ('of another shape', other), ('unknown', more))
           if names]
  if wrong:
    options = ', '.join(f'{option}={getattr(net, option)}' for option in (
        'features', 'depth', 'groups', 'bottleneck', 'stages'))
    raise errors.UserError(
        f'{what} does not fit MAXIM with {options} ({len(expected):,} arrays): '
        f'{"; ".join(wrong)}.')


def some(names: list[str]) -> str:
  """The first few names of a list, and how many more there are.

  Args:
    names: the list.

  Returns:
    Such as 'a, b, c, d and 3 more'.
  """
  more = len(names) - _MAX_LISTED
  return ', '.join(names[:_MAX_LISTED]) + (f' and {more} more' * (more > 0))


def leaves(net: maxim.MAXIM) -> Shapes:
  """The parameters that a network reads, without a trace.

  Args:
    net: the network.

  Returns:
    Path of each leaf, joined by '/' -> its shape.
  """
  return {f'{name}/{leaf}': shape for name, module in _modules(net)
          for leaf, shape in module.items()}


def training_only(net: maxim.MAXIM) -> set[str]:
  """The parameters that only training reads: the heads of smaller scales.

  Args:
    net: the network.

  Returns:
    Paths of leaves, joined by '/'.
  """
  return leaves(net).keys() - leaves(net.clone(scales=1)).keys()


def _is_head(name: str) -> bool:
  return name == _HEAD or name.endswith(f'/{_HEAD}')


def _prefix(names, path) -> str:
  found = [name.removesuffix(_HEAD) for name in names if _is_head(name)]
  if not found:
    raise errors.UserError(
        f'{path} does not hold MAXIM: it has no {_HEAD}, but '
        f'{some(list(names)) or "nothing"}.')
  for prefix in PREFIXES:
    if prefix in found:
      return prefix
  if len(found) > 1:
    raise errors.UserError(
        f'{path} holds MAXIM more than once, as {some(found)}: give a file '
        'with one of them.')
  return found[0]


def _network(shapes: Shapes, path) -> tuple[dict[str, Any], dict[str, str]]:
  """(keywords of the network, name in the file -> name here if it differs)."""
  if len(shapes[_HEAD]) != 4:
    raise errors.UserError(
        f'{path}: {_HEAD} has the shape {shapes[_HEAD]} and is no convolution.')

  def count(pattern):
    found = (re.match(pattern, name) for name in shapes)
    return len({match[1] for match in found if match})

  stages = count(r'stage_(\d+)_')
  ours = {name: _rename(name, stages, outwards=False) for name in shapes}
  shapes = {ours[name]: shape for name, shape in shapes.items()}
  depth = count(r'stage_0_encoder_block_(\d+)/')
  scales = 1
  while scales < depth and f'{_image_head(stages, scales)}/kernel' in shapes:
    scales += 1
  network = dict(
      features=shapes[_HEAD][-1], depth=depth, scales=scales, stages=stages,
      groups=count(
          r'stage_0_encoder_block_0/SplitHeadMultiAxisGmlpLayer_(\d+)/'),
      bottleneck=count(r'stage_0_global_block_(\d+)/'))
  try:
    maxim.MAXIM(**network)
  except errors.UserError as error:
    raise errors.UserError(f'{path}: {error}') from error
  return network, ours


def _image_head(stages: int, scale: int) -> str:
  """The convolution that returns the picture of the last stage."""
  if stages >= maxim.STAGES:
    return f'stage_{stages - 1}_output_conv_{scale}'
  return f'stage_{stages - 1}_supervised_attention_module_{scale}/Conv_1'


def _rename(name: str, stages: int, *, outwards: bool) -> str:
  """The name of a leaf of the last stage's heads, in the file and here."""
  if stages >= maxim.STAGES:
    return name
  stage = f'stage_{stages - 1}_'
  if outwards:
    return re.sub(rf'^{stage}supervised_attention_module_(\d+)/Conv_1/',
                  rf'{stage}output_conv_\1/', name)
  return re.sub(rf'^{stage}output_conv_(\d+)/',
                rf'{stage}supervised_attention_module_\1/Conv_1/', name)


# ---- shapes

def _modules(net) -> Iterator[tuple[str, Shapes]]:
  """(name, its leaves) of every layer."""
  depth, colours = net.depth, 3 * net.unshuffle**2
  widths = net.widths
  for s in range(net.stages):
    for i, width in enumerate(widths):
      places = net.places(i)
      below = widths[min(i + 1, depth - 1)]
      name = lambda kind, s=s, i=i: f'stage_{s}_{kind}_{i}'
      yield name('input_conv'), _conv(3, colours, width)
      encoder, decoder = name('encoder_block'), name('decoder_block')
      yield from _encoder(
          encoder, width, width + (widths[i - 1] if i else width), places, net)
      yield f'{encoder}/Conv_1', _conv(4, width, width)
      if s:
        yield from _cross_gating(name('input_fuse_sam'), width, width, places)
        yield from _cross_gating(
            f'{encoder}/cross_gating_block', width, width, places)
      gating = name('cross_gating_block')
      yield f'{gating}/ConvTranspose_0', _conv(2, below, width)
      yield from _cross_gating(gating, width, depth * width, places)
      yield f'{decoder}/ConvTranspose_0', _conv(2, below, width)
      yield from _encoder(f'{decoder}/UNetEncoderBlock_0', width,
                          (depth + 1) * width, places, net)
      attention = name('supervised_attention_module')
      if s < net.stages - 1:
        yield f'{attention}/Conv_0', _conv(3, width, width)
        yield f'{attention}/Conv_1', _conv(3, width, colours)
        yield f'{attention}/Conv_2', _conv(3, colours, width)
      elif i < net.scales:
        yield _image_head(net.stages, i), _conv(3, width, colours)
    for i in range(net.bottleneck):
      yield from _bottleneck(f'stage_{s}_global_block_{i}', widths[-1], net)
    number = s * 2 * depth**2
    for order in (widths, widths[::-1]):
      for width in widths[::-1]:
        for wide in order:
          yield f'UpSampleRatio_{number}/Conv_0', _conv(1, wide, width)
          number += 1


def _encoder(name, c, c_in, places, net):
  yield f'{name}/Conv_0', _conv(1, c_in, c)
  for k in range(net.groups):
    yield from _gmlps(f'{name}/SplitHeadMultiAxisGmlpLayer_{k}', c, places)
    block = f'{name}/channel_attention_block_1{k}'
    yield f'{block}/LayerNorm', _norm(c)
    yield f'{block}/conv1', _conv(3, c, c)
    yield f'{block}/conv2', _conv(3, c, c)
    yield from _attention(f'{block}/channel_attention', c)


def _bottleneck(name, c, net):
  yield f'{name}/input_proj', _conv(1, c, c)
  for k in range(net.groups):
    yield from _gmlps(
        f'{name}/SplitHeadMultiAxisGmlpLayer_{k}', c,
        maxim_blocks.Places(maxim.SIDES[-1]))
    block = f'{name}/channel_attention_block_1_{k}'
    yield f'{block}/LayerNorm', _norm(c)
    yield f'{block}/channel_mixing/Dense_0', _dense(c, c)
    yield f'{block}/channel_mixing/Dense_1', _dense(c, c)
    yield from _attention(f'{block}/channel_attention', c)


def _gmlps(name, c, places):
  yield f'{name}/LayerNorm_in', _norm(c)
  yield f'{name}/in_project', _dense(c, 2 * c)
  yield f'{name}/out_project', _dense(2 * c, c)
  for axis in ('Grid', 'Block'):
    layer = f'{name}/{axis}GmlpLayer'
    yield f'{layer}/LayerNorm', _norm(c)
    yield f'{layer}/in_project', _dense(c, 2 * c)
    yield f'{layer}/out_project', _dense(c, c)
    unit = f'{layer}/{axis}GatingUnit'
    yield f'{unit}/intermediate_layernorm', _norm(c)
    yield f'{unit}/Dense_0', _positions(places)


def _cross_gating(name, c, c_in, places):
  yield f'{name}/Conv_0', _conv(1, c_in, c)
  yield f'{name}/Conv_1', _conv(1, c, c)
  for one in 'xy':
    yield f'{name}/LayerNorm_{one}', _norm(c)
    yield f'{name}/in_project_{one}', _dense(c, c)
    yield f'{name}/out_project_{one}', _dense(c, c)
    gating = f'{name}/SplitHeadMultiAxisGating_{one}'
    yield f'{gating}/LayerNorm_in', _norm(c)
    yield f'{gating}/in_project', _dense(c, 2 * c)
    yield f'{gating}/out_project', _dense(2 * c, c)
    yield f'{gating}/Dense_0', _positions(places)
    yield f'{gating}/Dense_1', _positions(places)


def _attention(name, c):
  yield f'{name}/Conv_0', _conv(1, c, c // maxim_blocks.REDUCTION)
  yield f'{name}/Conv_1', _conv(1, c // maxim_blocks.REDUCTION, c)


def _positions(places: maxim_blocks.Places) -> Shapes:
  count, rank = places.side**2, places.rank
  if not rank:
    return _dense(count, count)
  return {'left': (count, rank), 'right': (rank, count), 'diagonal': (count,),
          'bias': (count,)}


def _conv(k: int, c_in: int, c_out: int) -> Shapes:
  return {'kernel': (k, k, c_in, c_out), 'bias': (c_out,)}


def _dense(c_in: int, c_out: int) -> Shapes:
  return {'kernel': (c_in, c_out), 'bias': (c_out,)}


def _norm(c: int) -> Shapes:
  return {'scale': (c,), 'bias': (c,)}

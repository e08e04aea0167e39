"""The groups of channels in a network that pruning must cut together.

A group is a set of channels that several layers share, such as those that
residual blocks add to each other. `wires` names the groups that each layer
reads and makes; layers without a wire stay whole.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from deblur_jax import errors
from deblur_jax.models import (
    mimo_unet,
    multiscale,
    nafnet,
    resnet,
    single_scale,
    srn,
    unet,
)

Groups = tuple[str, ...]   # concatenated along an axis


class Wire(NamedTuple):
  """The groups of one layer; None keeps an axis whole.

  Attributes:
    reads: groups along the axis of a kernel before the last.
    makes: groups along the last axis of its kernel, and of its bias.
  """

  reads: Groups | None
  makes: Groups | None


Wires = dict[tuple[str, ...], Wire]   # path of a layer ->
RGB = 'rgb'   # the three channels of an image, which are never cut


def wires(net: nn.Module) -> Wires:
  """The wires of a network.

  Args:
    net: the network.

  Returns:
    Path of a layer -> its wire.

  Raises:
    UserError: channels of such a network cannot be pruned.
  """
  for kind, of_net in KINDS.items():
    if isinstance(net, kind):
      if getattr(net, 'attention', 'none') != 'none':
        raise errors.UserError(
            'Channels of networks with attention cannot be pruned, got '
            f'attention={net.attention}; prune values (method.share).')
      return of_net(net)
  raise errors.UserError(
      f'Channels of a {type(net).__name__} cannot be pruned, only of '
      f'{", ".join(sorted(kind.__name__ for kind in KINDS))}; prune values '
      '(method.share).')


def width(net: nn.Module) -> str:
  """The option that sets how many channels pruning leaves.

  Args:
    net: the network.

  Returns:
    The name of the option.
  """
  return 'expansion' if isinstance(net, nafnet.NAFNet) else 'features'


def _chain(*steps: tuple[tuple[str, ...], str | None, str | None]) -> Wires:
  """Wires from (path, the group read, the group made) of each layer."""
  return {path: Wire(reads and (reads,), makes and (makes,))
          for path, reads, makes in steps}


def _block(path: tuple[str, ...], group: str) -> Wires:
  """Two convolutions whose result is added to the group that they read."""
  inside = '/'.join(path)
  return _chain(((*path, 'conv_0'), group, inside),
                ((*path, 'conv_1'), inside, group))


def _blocks(paths, group: str) -> Wires:
  return {key: wire for path in paths
          for key, wire in _block(path, group).items()}


def _multiscale(net) -> Wires:
  found = {}
  for s in range(net.scales):
    scale = f'scale_{s}'
    found |= _chain(((scale, 'head'), None, scale),
                    ((scale, 'tail'), scale, None))
    found |= _blocks([(scale, f'block_{i:02d}') for i in range(
        multiscale.num_blocks(net))], scale)
  return found


def _single_scale(net) -> Wires:
  return _chain((('head',), None, 'x'), (('tail',), 'x', None)) | _blocks(
      [(f'block_{i:02d}',) for i in range(net.blocks)], 'x')


def _resnet(net) -> Wires:
  return _chain(
      (('head',), None, 'full'), (('down_0',), 'full', 'half'),
      (('down_1',), 'half', 'x'), (('up_0',), 'x', 'half_up'),
      (('up_1',), 'half_up', 'full_up'), (('tail',), 'full_up', None)
  ) | _blocks([(f'block_{i:02d}',) for i in range(net.blocks)], 'x')


def _unet(net) -> Wires:
  found = _chain((('head',), None, 'skip_0'))
  lowest = f'skip_{net.levels}'
  at = lambda i: [(f'block_{i}_{j}',) for j in range(net.blocks)]
  found |= _blocks(at(net.levels), lowest)
  below = lowest
  for i in reversed(range(net.levels)):
    found |= _chain(((f'down_{i}',), f'skip_{i}', f'skip_{i + 1}'),
                    ((f'up_{i}',), below, f'up_{i}'))
    found[f'join_{i}',] = Wire((f'skip_{i}', f'up_{i}'), (f'join_{i}',))
    below = f'join_{i}'
    found |= _blocks(at(i), below)
  return found | _chain((('tail',), below, None))


def _srn(net) -> Wires:
  found = {}
  for name in (['scale'] if net.shared else
               [f'scale_{s}' for s in range(net.scales)]):
    found |= _coder(net, name)
  return found


def _coder(net, name) -> Wires:
  at = lambda stage, level: [
      (name, f'{stage}_{level}_{i}') for i in range(net.blocks)]
  group = lambda level: f'{name}/{level}'
  found = _chain(((name, 'head'), None, group(0)))
  for level in range(srn.LEVELS):
    found |= _blocks(at('encode', level), group(level))
    if level:
      found |= _chain(
          ((name, f'down_{level}'), group(level - 1), group(level)),
          ((name, f'up_{level}'), group(level), group(level - 1)))
  lowest = group(srn.LEVELS - 1)
  if net.recurrent:
    memory = f'{name}/memory'
    found[name, 'lstm', 'gates'] = Wire((lowest, memory), (memory,) * 4)
    lowest = memory
    found |= _chain(((name, f'up_{srn.LEVELS - 1}'), memory,
                     group(srn.LEVELS - 2)))
  found |= _blocks(at('decode', srn.LEVELS - 1), lowest)
  for level in range(srn.LEVELS - 1):
    found |= _blocks(at('decode', level), group(level))
  return found | _chain(((name, 'tail'), group(0), None))


def _mimo_unet(net) -> Wires:
  at = lambda stage, s: [(f'{stage}_{s}_{i}',) for i in range(net.blocks)]
  scales = range(mimo_unet.SCALES)
  found = _chain((('head',), None, 'encode_0'))
  for s in scales:
    group = f'encode_{s}'
    found |= _blocks(at('encode', s), group)
    if s:
      found |= _chain(((f'down_{s}',), f'encode_{s - 1}', group),
                      ((f'meet_{s}',), group, group)) | _shallow(
                          s, group, net.window * net.unshuffle**2)
  below = f'encode_{scales[-1]}'
  for s in reversed(scales):
    if s < scales[-1]:
      found |= _chain(((f'up_{s}',), below, f'up_{s}'),
                      ((f'fuse_{s}_1',), f'fuse_{s}', f'skip_{s}'))
      found[f'fuse_{s}_0',] = Wire(
          tuple(f'encode_{i}' for i in scales), (f'fuse_{s}',))
      found[f'join_{s}',] = Wire((f'up_{s}', f'skip_{s}'), (f'decode_{s}',))
      below = f'decode_{s}'
    found |= _blocks(at('decode', s), below)
    found |= _chain(((f'tail_{s}' if s else 'tail',), below, None))
  return found


def _shallow(s: int, group: str, images: int) -> Wires:
  name = f'look_{s}'
  inside = [None, *(f'{name}/{i}' for i in range(4))]
  found = _chain(*(((name, f'conv_{i}'), inside[i], inside[i + 1])
                   for i in range(4)))
  found[name, 'join'] = Wire((*[RGB] * images, inside[-1]), (group,))
  return found


def _nafnet(net) -> Wires:
  """The channels inside of the blocks; norms see all channels outside."""
  found = {}
  stages = {f'encode_{i}': count for i, count in enumerate(net.blocks)}
  stages |= {f'decode_{i}': count for i, count in enumerate(net.up_blocks)}
  for stage, count in (stages | {'middle': net.middle}).items():
    for i in range(count):
      name = f'{stage}_{i:02d}'
      first, second = f'{name}/0', f'{name}/1'
      both = (first, first)   # the gate multiplies the one by the other
      found |= {
          (name, 'expand_0'): Wire(None, both),
          (name, 'depth'): Wire(None, both),
          (name, 'weigh'): Wire((first,), (first,)),
          (name, 'project_0'): Wire((first,), None),
          (name, 'expand_1'): Wire(None, (second, second)),
          (name, 'project_1'): Wire((second,), None)}
  return found


KINDS: dict[type[nn.Module], Callable[..., Wires]] = {
    mimo_unet.MimoUNet: _mimo_unet,
    multiscale.MultiScale: _multiscale,
    nafnet.NAFNet: _nafnet,
    resnet.ResNet: _resnet,
    single_scale.SingleScale: _single_scale,
    srn.SRN: _srn,
    unet.UNet: _unet,
}

"""Times the authors' PyTorch code beside ours, in a process of its own."""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import flags

from deblur_jax import errors, models
from deblur_jax.models import multiscale, patchgan, resnet, skip


class Official(NamedTuple):
  """How the official code of a paper is run.

  script: in the folder `pytorch`.
  file: of the checkout, by which it is recognized.
  options: config -> what the script takes; a UserError for what the checkout
    cannot do.
  """

  script: str
  file: str
  options: Callable[[Mapping[str, Any]], dict[str, Any]]


class Peer:
  """The official network in a process of its own."""

  def __init__(self, script, folder, python, options):
    path = pathlib.Path(__file__).parent / 'pytorch' / script
    try:
      self._process = subprocess.Popen(
          [python, str(path), folder, json.dumps(options)], text=True,
          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
      raise errors.UserError(
          f'--peer_python={python}: {error.strerror}.') from error

  def run(self, name: str) -> float:
    """Seconds of one training step or one restoration."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(f'{name} 1\n')
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise errors.UserError(
          'The PyTorch network did not run; its message stands above. Is '
          '--peer a checkout of it, and has --peer_python torch?')
    self.answer = json.loads(line)
    return self.answer['seconds'][0]

  def close(self) -> int:
    """Ends the process; its largest memory in bytes."""
    self._process.stdin.close()
    self._process.wait()
    return self.answer['peak_kib'] * 1024


def define_flags() -> None:
  """Which official code to time as well, and how."""
  flags.DEFINE_string('peer', None, "Checkout of the authors' PyTorch code.")
  flags.DEFINE_string('peer_python', 'python', 'A Python that has torch.')
  flags.DEFINE_bool(
      'peer_channels_last', False, 'Use NHWC in the PyTorch network.')


def from_flags(
    config: Mapping[str, Any], size: tuple[int, int], *, what: Sequence[str]
) -> Peer | None:
  """The official code that --peer names, see `start`; None without --peer."""
  values = flags.FLAGS
  if not values.peer:
    return None
  return start(config, size, values.peer, values.peer_python, what=what,
               channels_last=values.peer_channels_last)


def runs(peer: Peer | None, name: str) -> dict[str, Callable[[], float]]:
  """{'peer': a function that runs one step and returns its seconds}, or {}."""
  return {'peer': lambda: peer.run(name)} if peer else {}


def start(
    config: Mapping[str, Any], size: tuple[int, int], folder: str, python: str,
    *, what: Sequence[str], channels_last: bool) -> Peer:
  """The official code for the method of a config, with the same shapes.

  Args:
    config: plain dicts.
    size: height and width of a restored image, pixels.
    folder: of the checkout.
    python: a Python that has torch.
    what: 'train', 'restore' or both.
    channels_last: whether it computes in NHWC.

  Raises:
    UserError: the config has no official code, or uses what that cannot do.
  """
  method = config['method']['name']
  official = OFFICIAL.get(method)
  if official is None:
    raise errors.UserError(
        f'--peer works for method.name={", ".join(OFFICIAL)}, not {method}.')
  if not pathlib.Path(folder, official.file).is_file():
    raise errors.UserError(f'--peer={folder} has no {official.file}.')
  if jax.default_backend() != 'cpu' or jax.device_count() > 1:
    raise errors.UserError('--peer compares on one CPU device only.')
  options = official.options(config)
  if options['dtype'] != 'float32' and list(what) != ['restore']:
    raise errors.UserError(
        f'--peer trains in float32 only, not in {options["dtype"]}: set '
        'dtype=float32, or --what=restore.')
  options |= {
      'size': size, 'threads': len(os.sched_getaffinity(0)),
      'channels_last': channels_last}
  if 'data' in config:
    if config['batch_size'] is None:
      raise errors.UserError('--peer needs a --config.batch_size.')
    options |= {'batch': config['batch_size'],
                'crop': config['data']['loader']['crop']}
  return Peer(official.script, folder, python, options)


def _multiscale(config):
  net = models.build(**config['nets']['net'])
  if not isinstance(net, multiscale.MultiScale):
    raise errors.UserError('--peer compares nets.net.name=multiscale only.')
  return {'dtype': net.dtype, 'scales': net.scales, 'features': net.features,
          'blocks': multiscale.num_blocks(net), 'kernel_size': net.kernel_size}


def _deblurgan(config):
  generator, discriminator = (
      models.build(**config['nets'][name]) for name in ('generator',
                                                        'discriminator'))
  method = config['method']
  if not (isinstance(generator,
                     resnet.ResNet) and generator.upsample == 'transposed'
          and isinstance(discriminator,
                         patchgan.PatchGAN) and discriminator.padding == 2
          and method['discriminator']['gan'] == 'wgan'
          and method['discriminator']['penalty'] and not method['fresh']
          and method['content'] in ('l1', 'perceptual')):
    raise errors.UserError(
        '--peer compares only what configs/deblurgan_gopro.py describes: '
        'resnet and patchgan, WGAN with a penalty, the same crops for all '
        'discriminator steps, content l1 or perceptual.')
  return {'dtype': generator.dtype, 'features': generator.features,
          'blocks': generator.blocks,
          'dropout': generator.dropout > 0, 'residual': generator.residual,
          'discriminator_features': discriminator.features,
          'discriminator_depth': discriminator.depth,
          'discriminator_steps': method['discriminator_steps'],
          'perceptual': method['content'] == 'perceptual'}


def _prior(config):
  net, method = models.build(**config['nets']['net']), config['method']
  if not (isinstance(net, skip.Skip) and not net.attention
          and method['code'] == 'noise' and method['loss'] == 'mse'
          and method.get('factor', 1) == 1):
    raise errors.UserError(
        '--peer compares nets.net.name=skip without attention, with '
        'code=noise, loss=mse and no factor only.')
  return {'dtype': net.dtype, 'depth': net.depth, 'channels': net.channels,
          'mix': net.mix, 'border': net.border, 'jitter': method['jitter'],
          **{name: net.at_levels(name) for name in (
              'down', 'up', 'skip', 'down_size', 'up_size', 'upsample',
              'downsample')}}


# By method.name: DmitryUlyanov/deep-image-prior, SeungjunNah/DeepDeblur-PyTorch
# and KupynOrest/DeblurGAN at 39e8a4b (its later commits have half of it).
OFFICIAL = {
    'deep_prior': Official('deep_prior.py', 'models/skip.py', _prior),
    'supervised': Official(
        'multiscale.py', 'src/model/MSResNet.py', _multiscale),
    'adversarial': Official(
        'deblurgan.py', 'models/networks.py', _deblurgan),
}

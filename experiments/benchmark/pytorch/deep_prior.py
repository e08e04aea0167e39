"""Times the official deep image prior for `benchmark prior --peer`.

Imports the networks from a checkout of
https://github.com/DmitryUlyanov/deep-image-prior by its path; an iteration is
that of its denoising program.
"""

import importlib
import sys
import types

import serve
import torch


def load_network(folder, options):
  """`skip` of the checkout, without the other imports of its package."""
  package = types.ModuleType('models')
  package.__path__ = [f'{folder}/models']
  sys.modules['models'] = package
  skip = importlib.import_module('models.skip').skip
  return skip(
      options['depth'], options['channels'],
      num_channels_down=options['down'], num_channels_up=options['up'],
      num_channels_skip=options['skip'], filter_size_down=options['down_size'],
      filter_size_up=options['up_size'], need1x1_up=options['mix'],
      upsample_mode=options['upsample'],
      downsample_mode=options['downsample'],
      pad='reflection' if options['border'] == 'reflect' else 'zero')


def make_programs(folder, options):
  net = load_network(folder, options)
  height, width = options['size']
  code = 0.1 * torch.rand(1, options['depth'], height, width)
  image = torch.rand(1, options['channels'], height, width)
  if options['channels_last']:
    net = net.to(memory_format=torch.channels_last)
    code, image = (
        x.contiguous(memory_format=torch.channels_last) for x in (code, image))
  adam = torch.optim.Adam(net.parameters(), lr=0.01)
  average = None

  def train():
    nonlocal average
    adam.zero_grad()
    out = net(code + options['jitter'] * torch.randn_like(code))
    shown = out.detach()
    average = shown if average is None else 0.99 * average + 0.01 * shown
    loss = torch.nn.functional.mse_loss(out, image)
    loss.backward()
    adam.step()
    loss.item()

  return {'train': train}


if __name__ == '__main__':
  serve.serve(make_programs)

"""Times the official multi-scale network for `benchmark network --peer`.

Imports it from a checkout of https://github.com/SeungjunNah/DeepDeblur-PyTorch
by its path.
"""

import sys
import types

import serve
import torch


def load_network(folder, options):
  """MSResNet of the checkout, without the trainer that its package imports."""
  package = types.ModuleType('model')
  package.__path__ = [f'{folder}/src/model']
  sys.modules['model'] = package
  from model import MSResNet
  return MSResNet.build_model(types.SimpleNamespace(
      rgb_range=1.0, n_scales=options['scales'], n_feats=options['features'],
      n_resblocks=options['blocks'], kernel_size=options['kernel_size']))


def make_pyramid(options, *, height, width):
  """Random images of all scales, finest first; making them is not timed."""
  images = [
      torch.rand(options['batch'], 3, height >> s, width >> s)
      for s in range(options['scales'])]
  if options['channels_last']:
    images = [x.contiguous(memory_format=torch.channels_last) for x in images]
  return images


def make_train(net, options):
  adam = torch.optim.Adam(net.parameters(), lr=1e-4)
  blurs, sharps = (
      make_pyramid(options, height=options['crop'], width=options['crop'])
      for _ in range(2))

  def train():
    adam.zero_grad()
    loss = sum(
        torch.nn.functional.l1_loss(output, sharp)
        for output, sharp in zip(net(list(blurs)), sharps, strict=True))
    loss.backward()
    adam.step()
  return train


def make_restore(net, options):
  height, width = options['size']
  blurs = make_pyramid(options | {'batch': 1}, height=height, width=width)

  def restore():
    with serve.restoring(options):
      net(list(blurs))
  return restore


def make_programs(folder, options):
  net = load_network(folder, options)
  if options['channels_last']:
    net = net.to(memory_format=torch.channels_last)
  return {'train': make_train(net, options),
          'restore': make_restore(net, options)}


if __name__ == '__main__':
  serve.serve(make_programs)

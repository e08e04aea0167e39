"""Times the official DeblurGAN for `benchmark network --peer`.

Imports the networks from a checkout of https://github.com/KupynOrest/DeblurGAN
at commit 39e8a4b, by their path. The step is that of its `content_gan` model
with `wgan-gp`; that class itself needs a GPU. VGG19 has random weights: its
time does not depend on them.
"""

import importlib.util

import serve
import torch

VGG = (64, 64, 'pool', 128, 128, 'pool', 256, 256, 256)   # up to conv3_3


def load_networks(folder):
  """networks.py of the checkout, without the trainer around it."""
  spec = importlib.util.spec_from_file_location(
      'networks', f'{folder}/models/networks.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def make_vgg():
  """VGG19 up to conv3_3, before its ReLU."""
  layers, channels = [], 3
  for width in VGG:
    if width == 'pool':
      layers.append(torch.nn.MaxPool2d(2))
    else:
      layers += [torch.nn.Conv2d(channels, width, 3, padding=1),
                 torch.nn.ReLU(inplace=True)]
      channels = width
  return torch.nn.Sequential(*layers[:-1])


def penalty(discriminator, real, fake):
  """The penalty of the released code, whose norm is over the channels."""
  place = torch.rand(1, 1).expand(real.size())
  middle = (place * real + (1 - place) * fake).requires_grad_(True)
  values = discriminator(middle)
  slopes, = torch.autograd.grad(
      values, middle, torch.ones_like(values), create_graph=True)
  return 10 * ((slopes.norm(2, dim=1) - 1)**2).mean()


def make_train(generator, discriminator, options):
  """One step: the discriminator's updates, then the generator's."""
  adam_generator, adam_discriminator = (
      torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.5, 0.999))
      for net in (generator, discriminator))
  vgg = make_vgg()
  crop = options['crop']
  blur, sharp = (
      torch.rand(options['batch'], 3, crop, crop) * 2 - 1 for _ in range(2))

  def content(restored):
    if not options['perceptual']:
      return torch.nn.functional.l1_loss(restored, sharp)
    return torch.nn.functional.mse_loss(vgg(restored), vgg(sharp).detach())

  def train():
    restored = generator(blur)
    for _ in range(options['discriminator_steps']):
      adam_discriminator.zero_grad()
      loss = (discriminator(restored.detach()).mean()
              - discriminator(sharp).mean())
      loss = loss + penalty(discriminator, sharp, restored.detach())
      loss.backward()
      adam_discriminator.step()
    adam_generator.zero_grad()
    loss = -discriminator(restored).mean() + 100 * content(restored)
    loss.backward()
    adam_generator.step()
  return train


def make_restore(generator, options):
  blur = torch.rand(1, 3, *options['size'])

  def restore():
    with serve.restoring(options):
      generator(blur)
  return restore


def make_programs(folder, options):
  networks = load_networks(folder)
  norm = networks.get_norm_layer('instance')
  generator = networks.ResnetGenerator(
      3, 3, options['features'], norm_layer=norm,
      use_dropout=options['dropout'], n_blocks=options['blocks'],
      use_parallel=False, learn_residual=options['residual'])
  discriminator = networks.NLayerDiscriminator(
      3, options['discriminator_features'],
      n_layers=options['discriminator_depth'],
      norm_layer=norm, use_sigmoid=False, use_parallel=False)
  if options['channels_last']:
    generator, discriminator = (
        net.to(memory_format=torch.channels_last)
        for net in (generator, discriminator))
  return {'train': make_train(generator, discriminator, options),
          'restore': make_restore(generator, options)}


if __name__ == '__main__':
  serve.serve(make_programs)

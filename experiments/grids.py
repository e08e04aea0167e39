"""The named ablations, and the grid that the flags of `ablate` describe."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deblur_jax import errors
from experiments import common, config_flag, published_results
from experiments import prior as prior_program


class Grid(NamedTuple):
  """A named ablation: all combinations of the values of some config keys.

  config: FILE or FILE:ARG; None for the config of a prior's task.
  set: dotted config key -> its values; see `config_flag` for `restorer.`.
  papers: tables of papers, see `published_results`.
  """

  config: str | None
  set: Mapping[str, Sequence[Any]]
  papers: tuple[Mapping[str, Any], ...] = ()


def choose(
    name: str | None, config: str | None, sets: Sequence[str], *,
    task: str | None = None) -> Grid:
  """The grid that the flags describe.

  Args:
    name: a row of GRIDS.
    config: a config file in place of the grid's.
    sets: KEY=VALUE,VALUE,...
    task: of a prior.

  Raises:
    UserError: an unknown name, no config, nothing to set, or a bad --set.
  """
  if name is None and (config is None if task is None else not sets):
    raise errors.UserError(
        f'Give --name, one of {", ".join(GRIDS)}, or '
        f'{"--set" if task else "--config and --set"}.')
  grid = Grid(config, {}) if name is None else errors.look_up(
      GRIDS, name, what='grid')
  config = config or grid.config
  if config is None:
    if task is None:
      raise errors.UserError(f'The grid {name} is for priors: give --task.')
    config = str(prior_program.config_of(task))
  base = config_flag.load(config)
  given = [*grid.set.items(), *map(common.key_and_values, sets)]
  return grid._replace(config=config, set={
      config_flag.full_key(base, key): values for key, values in given})


_GOPRO = 'configs/multiscale_gopro.py'
_PHYSICS = 'configs/cycle_physics.py:small'
_DEBLURGAN = 'configs/deblurgan_gopro.py'
_NAH = (published_results.NAH_K_SCALES, published_results.NAH_KOHLER)
GRIDS = {
    'k_scales': Grid(
        _GOPRO, {'restorer.scales': (1, 2, 3)}, papers=_NAH),
    # Eq. 4 of the paper with eq. 5, weighted by eq. 6, and without.
    'k_scales_adversarial': Grid(
        'configs/multiscale_adv_gopro.py',
        {'method.adversarial_weight': (0.0, 1e-4),
         'restorer.scales': (1, 2, 3)}, papers=_NAH),
    'k_scales_paper': Grid(
        'configs/multiscale_paper.py', {'restorer.scales': (1, 2, 3)},
        papers=_NAH),
    'loss': Grid(
        _GOPRO, {'method.loss': ('l1', 'mse', 'charbonnier', 'psnr_loss',
                                 'l1 + 0.1*fft_l1')}),
    'residual': Grid(_GOPRO, {'restorer.residual': (False, True)}),
    'width': Grid(_GOPRO, {'restorer.features': (16, 32, 64)}),
    'kernel_size': Grid(_GOPRO, {'restorer.kernel_size': (3, 5)}),
    'pyramid': Grid(
        _GOPRO, {'restorer.pyramid': ('deepdeblur_pytorch',
                                      'deepdeblur_torch7')}),
    'sharing': Grid(
        'configs/srn.py',
        {'restorer.scales': (1, 2, 3), 'restorer.shared': (True, False)},
        papers=(published_results.SRN_GOPRO,)),
    'recurrent': Grid(
        'configs/srn.py', {'restorer.recurrent': (False, True)},
        papers=(published_results.SRN_GOPRO,)),
    'attention': Grid(
        'configs/mimo_unet.py',
        {'restorer.attention': ('none', 'se', 'cbam', 'window')}),
    'distillation': Grid(
        'configs/distill.py', {'method.loss_weight': (0.0, 1.0)}),
    'sparsity': Grid(
        'configs/prune.py:same', {'method.share': (0.0, 0.5, 0.8, 0.9)}),
    'thinner': Grid(
        'configs/prune.py', {'restorer.features': (64, 48, 32, 16)}),
    'thinner_small': Grid(
        'configs/prune.py:small', {'restorer.features': (16, 12, 8, 4)}),
    'crop': Grid(_GOPRO, {'data.loader.crop': (128, 256)}),
    # The penalty and five discriminator steps stay with every game, so that
    # only the game differs; the released code has neither for the others than
    # WGAN.
    'gan_content': Grid(
        _DEBLURGAN,
        {'method.discriminator.gan': ('wgan', 'lsgan', 'bce', 'ralsgan'),
         'method.content': ('perceptual', 'l1')},
        papers=(published_results.DEBLURGAN_GOPRO,
                published_results.DEBLURGAN_KOHLER,
                published_results.DEBLURGAN_DETECTION)),
    'discriminator_steps': Grid(
        _DEBLURGAN, {'method.discriminator_steps': (1, 2, 5)}),
    'generator': Grid(
        'configs/deblurgan_l1.py:bare',
        {'restorer.name': ('resnet', 'unet', 'fpn', 'restormer', 'multiscale',
                           'srn', 'mimo_unet', 'nafnet')}),
    'cycle_terms': Grid(
        'configs/cycle_unpaired.py:small',
        {'method.without': ('nothing', 'adversarial', 'cycle_blur',
                            'cycle_sharp', 'identity')}),
    'terms': Grid(
        _PHYSICS, {'method.without': ('nothing', 'reblur', 'sparsity',
                                      'adversarial', 'cycle', 'kernel')}),
    # Those that are off elsewhere.
    'priors': Grid(
        _PHYSICS, {'method.weights.tv': (0.0, 0.01),
                   'method.weights.dark': (0.0, 0.01)}),
    'start_alone': Grid(_PHYSICS, {'method.start_steps': (0, 500)}),
    # The blurry pictures alone: what excludes the trivial answer then.
    'sparsity_bound': Grid(
        _PHYSICS, {'method.weights.cycle': (0.0,),
                   'method.weights.kernel': (0.0,),
                   'method.weights.adversarial': (0.0,),
                   'data.loader.crop': (64,), 'total_steps': (500,),
                   'method.without': ('nothing', 'sparsity')}),
    # Of priors: --task names the config.
    'average': Grid(None, {'method.average': (0.0, 0.9, 0.99, 0.999)}),
    'depth': Grid(None, {'nets.net.down': tuple(
        (128,) * depth for depth in (1, 2, 3, 4, 5))}),
    'jitter': Grid(None, {'method.jitter': (0.0, 1 / 100, 1 / 30, 1 / 10)}),
    'network': Grid(None, {'nets.net': (
        dict(name='skip'), dict(name='unet_prior', num_layers=5),
        dict(name='unet_prior', num_layers=10),
        dict(name='deep_decoder', features=64),
        dict(name='deep_decoder', features=128))}),
    'skips': Grid(None, {'nets.net.skip': (0, 4, 16, 128)}),
    'stopping': Grid(None, {'method.stopping': (
        dict(name='emv', patience=1000), dict(name='wmv'),
        dict(name='held_out'), dict(name='fixed'))}),
}

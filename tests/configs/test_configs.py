"""Every config is traced; a few are trained and evaluated."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors, methods, models
from deblur_jax.evaluation import test_sets
from deblur_jax.priors import solve
from deblur_jax.training import train, workdir

# A method that learns nothing and one with a frozen network. Tracing, and the
# steps of tests/methods, cover the others.
TRAINED = ('blind_deconvolution', 'distill')


@pytest.mark.parametrize('name', sorted({*helpers.CONFIGS} - {*TRAINED}))
def test_debug_form_is_traced(name):
  config = helpers.get_config(name).to_dict()
  parts = train.setup(config)     # traces a step
  assert next(parts.batches(0))
  state = parts.abstract_state
  blur = jax.ShapeDtypeStruct(
      (1, 64, 65, 3 * parts.method.window), jnp.float32)
  restored = jax.eval_shape(parts.method.restore, state, blur)
  assert (restored.shape, restored.dtype) == ((1, 64, 65, 3), blur.dtype)


@pytest.mark.parametrize('name', TRAINED)
def test_debug_run(name, tmp_path):
  config = helpers.get_config(name).to_dict()
  assert train.run(config, tmp_path) == train.Result(2, True)
  result = test_sets.run(config, tmp_path, limit=1, pictures=1)
  assert len(result['rows']) == 1
  for title in ('input', 'mean'):
    assert np.isfinite(list(result[title].values())).all()
  assert workdir.read_json(tmp_path / 'eval.json') == result
  assert len(list((tmp_path / 'eval_pictures').iterdir())) == 3


@pytest.mark.parametrize('name, arg', [
    *((name, None) for name in helpers.CONFIGS),
    ('cycle_physics', 'small'), ('cycle_unpaired', 'perceptual'),
    ('deblurgan_gopro', 'small'), ('deblurgan_gopro', 'small_l1'),
    ('distill', 'small'), ('finetune', 'side_by_side'),
    ('mimo_unet', 'small'),
    ('multiscale_photos', 'small'), ('prune', 'int8'), ('prune', 'int8_small'),
    ('prune', 'small'), ('small', 'groups'), ('small', 'widths_truth')])
def test_full_form_builds(name, arg):
  config = helpers.get_config(name, arg).to_dict()
  train.check(config)
  nets = config['nets']
  if any('name' not in kwargs for kwargs in nets.values()):
    nets = methods.complete(config)['nets']    # has those of bundled models
  for kwargs in nets.values():
    models.build(**kwargs)


@pytest.mark.parametrize('name', helpers.CONFIGS)
def test_docstring_has_its_command(name):
  text = (helpers.ROOT / 'configs' / f'{name}.py').read_text()
  assert f'--config=configs/{name}.py' in text.split('"""')[1]


@pytest.mark.parametrize('name', helpers.PRIORS)
def test_full_form_of_a_prior_builds(name):
  config = helpers.get_config(name, None).to_dict()
  solve.check(config)
  assert methods.build(config).per_image
  text = (helpers.ROOT / 'configs' / f'{name}.py').read_text()
  assert f'--task={name.removeprefix("prior_")} ' in text.split('"""')[1]
  with pytest.raises(errors.UserError, match='experiments.prior'):
    train.check(config)


def test_root_and_subset_are_one_value():
  config = helpers.get_config('multiscale_gopro', None)
  with config.unlocked():
    config.data.train.root = 'elsewhere'
    config.data.test.subset = 'blur'
  assert config.data.test.root == 'elsewhere'
  assert config.data.train.subset == 'blur'

"""First weights: which options of a network may differ from those of a run."""

import helpers
import pytest

from deblur_jax import errors, models
from deblur_jax.methods import pretrained
from deblur_jax.training import workdir


@pytest.mark.parametrize('name', ['nafnet', 'restormer'])
def test_how_a_network_computes_may_differ_from_the_run(name, tmp_path):
  small = dict(name=name, **models.NETWORKS[name].small)
  workdir.write_config(tmp_path, helpers.tiny(nets=dict(net=small)))
  start = pretrained.Start(str(tmp_path))
  check = lambda **options: pretrained.check_alike(
      models.build(**{**small, **options}), start)
  theirs = check(local=64, dtype='bfloat16')
  assert theirs.local == 0 and theirs.dtype == 'float32'
  assert models.shapes(models.build(**small, local=64)) == models.shapes(theirs)
  with pytest.raises(errors.UserError, match='nets.net.features is 8, but'):
    check(features=8)

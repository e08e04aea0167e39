"""A few cases of each harness; python -m tests.harness NAME runs many."""

import importlib

import numpy as np
import pytest

from tests.harness import NAMES, cases

# What a case costs differs; `kills` and `writers` are run by hand.
COUNTS = {'configs': 8, 'checkpoints': 3, 'weights': 8, 'pictures': 60,
          'videos': 12, 'full_disk': 2}


@pytest.mark.parametrize('name', COUNTS)
def test_nothing_is_lost(name, tmp_path):
  harness = importlib.import_module(f'tests.harness.{name}')
  counts = cases.count(harness.cases(tmp_path, COUNTS[name], seed=0))
  assert counts.tried == COUNTS[name] and not counts.lost


def test_every_harness_is_tried():
  assert COUNTS.keys() | {'kills', 'writers'} == {*NAMES}


def test_what_counts_as_lost(monkeypatch):
  def fails(error):
    raise error

  from deblur_jax import errors

  made = [cases.Case(str(i), run, 0.5) for i, run in enumerate([
      lambda: None, lambda: fails(errors.UserError('One line.')),
      lambda: fails(errors.UserError('two\nlines')),
      lambda: fails(KeyError('name')),
      lambda: np.ones(2**28, np.uint8).sum()])]
  monkeypatch.setattr(cases, 'MAX_MEMORY', 2**27)
  counts = cases.count(made)
  assert (counts.tried, counts.made, counts.refused) == (5, 1, 1)
  assert [name for name, _ in counts.lost] == ['2', '3', '4']
  assert counts.memory > 2**27

"""A config leaf as the keyword arguments of a call."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from deblur_jax import config, data, errors, methods, models
from deblur_jax.data import augment, loaders
from deblur_jax.evaluation import test_sets
from deblur_jax.training import optim


@pytest.mark.parametrize(('value', 'annotation', 'expected'), [
    (3, float, 3.0), (3, int | float, 3), (2.0, int, 2), (True, bool, True),
    (None, int | None, None), ([1, 2], tuple[float, float], (1.0, 2.0)),
    ([[1, 2], [3]], Sequence[Sequence[int]], ((1, 2), (3,))),
    ({'a': 1}, Mapping[str, float], {'a': 1.0}), ({}, Mapping[str, Any], {}),
    (print, Any, print),
])
def test_values_are_converted_where_nothing_is_lost(
    value, annotation, expected):
  found = config.convert(value, annotation, where='a')
  assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(('value', 'annotation', 'message'), [
    (2.5, int, 'an integer, got 2.5'), (True, int, 'an integer, got True'),
    (1, bool, 'True or False, got 1'), ('3', int, "an integer, got '3'"),
    (3, str, 'text, got 3'),
    (float('nan'), float, 'a number, got nan, which is not'),
    (float('inf'), float | None, 'a number or None, got inf, which is not'),
    ('ab', Sequence[str], "a list, each text, got 'ab'"),
    ((1,), tuple[float, float], r'a list of 2, each a number, got \(1,\)'),
    ('x', Mapping[str, Any] | None, "a dict such as .* or None, got 'x'"),
])
def test_other_types_are_refused(value, annotation, message):
  with pytest.raises(errors.UserError, match=f'a.b must be {message}'):
    config.convert(value, annotation, where='a.b')


CALLS = {
    **{f'method {name}': make for name, make in methods.METHODS.items()},
    **{f'network {name}': row.module for name, row in models.NETWORKS.items()},
    **{f'source {name}': fn for name, fn in data.SOURCES.items()},
    **{f'loader {name}': fn for name, fn in loaders.LOADERS.items()},
    'optimizer': optim.build, 'validation': test_sets.make_validate,
    'augmentation': augment.make, 'data': data.open_source,
    'loader': data.build}


@pytest.mark.parametrize('name', CALLS)
def test_options_have_types_that_are_checked(name):
  """Every option, so that a wrong type is found where it is given."""
  for option in config.options(CALLS[name]).values():
    assert option.annotation is not inspect.Parameter.empty, option
    if option.annotation is not Any:
      with pytest.raises(errors.UserError, match='must be '):
        config.convert(object(), option.annotation, where=option.name)


@pytest.mark.parametrize('message, expected', [
    ('a.png has no colours.', 'a.png has no colours.'),
    ("No 'a.png' here", "No 'a.png' here"),
    ('The picture is transparent.', 'a.png: The picture is transparent.'),
    ('data.png is broken.', 'a.png: data.png is broken.')])
def test_a_message_gets_the_name_of_its_file_once(message, expected):
  found = errors.named(errors.UserError(message), 'a.png')
  assert str(found) == expected

"""Cards of the bundled models: what each is, and where its weights lie.

A card is weights/NAME.json; several share one file of weights. Needs no
jax, so that lists of models are quick.
"""

import json
import os
import pathlib
from typing import Any

from deblur_jax import errors

SHIPPED = pathlib.Path(__file__).parent / 'weights'
DEFAULT = 'maxim-2'
CARD = ('summary', 'net', 'weights', 'sha256', 'parameters', 'licence',
        'trained', 'sources')
Path = str | os.PathLike


def names(folder: Path = SHIPPED) -> list[str]:
  """The shipped models, the default one first."""
  found = sorted(path.stem for path in pathlib.Path(folder).glob('*.json'))
  return sorted(found, key=lambda name: name != DEFAULT)


def card(name: str, *, folder: Path = SHIPPED) -> dict[str, Any]:
  """What is known of a shipped model.

  Keys CARD; where measured 'scores' and 'seconds_720p', see
  experiments/release/write_cards.py; 'receptive_field', see
  `batches.receptive_field`; 'blur_threshold', see `app.restoring`.

  Raises:
    UserError: no such model, or its card is damaged.
  """
  known = names(folder)
  if not known:
    raise errors.UserError(
        f'No model {name!r}: none is bundled, so give -m the folder of a run.')
  if name not in known:
    raise errors.UserError(
        f'No model {name!r}: there is {", ".join(known)}, or the folder of a '
        f'run with its config.json.{errors.suggest(name, known)}')
  path = pathlib.Path(folder, f'{name}.json')
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise errors.UserError(f'Cannot read {path}: {error}.') from error
  missing = [key for key in CARD if key not in found]
  if missing:
    raise errors.UserError(f'{path} has no {missing[0]}.')
  return found

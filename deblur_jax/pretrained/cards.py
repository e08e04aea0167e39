"""Model cards of the bundled models.

A card is weights/NAME.json. Several cards may share one file of weights. This
file does not import jax, so that lists of models are fast.
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
  """Lists the bundled models, the default one first."""
  found = sorted(path.stem for path in pathlib.Path(folder).glob('*.json'))
  return sorted(found, key=lambda name: name != DEFAULT)


def card(name: str, *, folder: Path = SHIPPED) -> dict[str, Any]:
  """Reads the card of a bundled model.

  Args:
    name: of the model.
    folder: of the cards.

  Returns:
    The keys in CARD, and optionally 'scores' and 'seconds_720p' (see
    experiments/release/write_cards.py), 'receptive_field' (see
    `restoration.receptive_field`) and 'blur_threshold' (see `app.restoring`).

  Raises:
    UserError: there is no such model, or its card is damaged.
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
    found = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise errors.UserError(f'Cannot read {path}: {error}.') from error
  missing = [key for key in CARD if key not in found]
  if missing:
    raise errors.UserError(f'{path} has no {missing[0]}.')
  return found

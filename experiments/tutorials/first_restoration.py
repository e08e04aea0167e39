"""First restoration: a blurred photograph, restored and measured."""

import pathlib

import numpy as np
from PIL import Image

import deblur_jax
from deblur_jax import data, metrics
from deblur_jax.ops import bit_depth


def run(
    out: pathlib.Path, *, model: str = 'maxim-1', side: int = 320
) -> dict[str, float]:
  """Restores a built-in photograph.

  Args:
    out: gets the pictures.
    model: a bundled model, or the folder of a run.
    side: largest side of the photograph in pixels.

  Returns:
    PSNR of the blurred and of the restored picture, in dB.
  """
  # A pair of the built-in photographs: the camera and an object moved while
  # the shutter was open. uint8 [h, w, 3].
  pair = data.open_source(name='builtin', split='test').read(4)
  blur, sharp = (pair[key][:side, :side] for key in ('blur', 'sharp'))

  # The Python call takes an array, a Pillow image or a path, and returns the
  # same kind. A threshold of 0 restores a photo even if it looks sharp.
  restored = deblur_jax.restore(blur, model=model, blur_threshold=0.0)

  # Metrics take float32 in [0, 1], and return one value for each picture.
  psnr = metrics.choose(['psnr_uint8'])['psnr_uint8']
  batch = lambda picture: bit_depth.to_float(picture)[None]
  scores = {name: float(psnr(batch(picture), batch(sharp))[0])
            for name, picture in {'blur': blur, 'restored': restored}.items()}
  Image.fromarray(np.hstack([blur, restored, sharp])).save(out / 'compare.png')
  print(f'{scores["blur"]:.2f} dB -> {scores["restored"]:.2f} dB; '
        f'{out / "compare.png"}: blurred, restored, sharp')
  return scores

"""Numbers of papers for single pictures, beside which our fits are shown.

The prior's of Set5 and of inpainting are measured on the pictures that the
authors ship. F16's is the best output of one fit, near step 1400, without
averages. Levin's are means over the four pictures with that kernel, of the run
of SelfDeblur that the authors of W-DIP ship.
"""

from typing import NamedTuple


class Picture(NamedTuple):
  """A picture of a paper's table.

  Attributes:
    label: what it is.
    psnr: the paper's, in dB.
    size: (height, width) of what is fitted, in pixels; the paper crops both to
      multiples of 32.
    steps: of the paper's fit.
  """

  label: str
  psnr: float
  size: tuple[int, int]
  steps: int


# Task -> {name of the picture: what the paper says of it}.
PICTURES = {
    'denoise': {'F16_GT': Picture('F16, noise of 25', 30.59, (512, 512), 3000)},
    'sr': {
        f'img_{number:03}_SRF_4_HR': Picture(f'{name}, factor 4', psnr, size,
                                             2000)
        for number, (name, psnr, size) in enumerate((
            ('baby', 31.49, (512, 512)), ('bird', 31.80, (288, 288)),
            ('butterfly', 26.23, (256, 256)), ('head', 31.04, (256, 256)),
            ('woman', 28.93, (320, 224))), start=1)},
    'inpaint': {
        'kate': Picture('kate, text', 38.98, (512, 512), 6001),
        'barbara': Picture(
            'barbara, half of the pixels', 32.18, (512, 512), 11000)},
    'blind': {
        f'im{image}_kernel{kernel}_img': Picture(
            f"Levin's picture {image}, kernel {kernel}", psnr, (255, 255), 5000)
        for image in (1, 2) for kernel, psnr in enumerate((
            33.8, 33.36, 33.92, 31.85, 35.24, 33.88, 34.3, 29.66), start=1)},
}

r"""Deep image prior: inpainting (Ulyanov et al., CVPR 2018, section 3.3).

  python -m experiments.prior --task=inpaint --input=photo.png --mask=mask.png \
      --out=OUT

For text and single pixels, with the authors' settings of `kate`. For large
holes leave the skips out, --config.nets.net.skip=0; for the largest take more
levels, as in models.PRESETS['inpaint_library']. Where half of the pixels are
missing: --config.nets.net.skip=4 --config.nets.net.upsample=bilinear
--config.optim.net.lr=0.001 (11 000 steps in the paper).
"""

from configs import common


def get_config(arg=None):
  # 6000 steps of Adam at 1e-2, with skips as wide as the levels, 128 channels.
  # The result is the average of the outputs: known pixels have no noise to fit.
  return common.prior('inpaint', arg)

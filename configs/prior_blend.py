r"""Two layers of one picture: Double-DIP (Gandelsman et al., CVPR 2019).

  python -m experiments.prior --task=blend --input=photo.png --out=OUT

Two networks paint the layers of the picture, for example a moving object and
its background, and a third network paints the mask between them. OUT has
NAME_first, NAME_second and NAME_mask. --hint names a picture that is white
where a pixel belongs to the first layer, black where it belongs to the second,
and grey elsewhere. Without it the order of the layers is random. For layers
that shine through, set --config.method.binary=0.
"""

from configs import common


def get_config(arg=None):
  # 4000 steps of Adam at 1e-3, all three networks with five levels of 8 to 128
  # channels and codes of two channels. Edges in both layers cost 0.1, a mask
  # between 0 and 1 costs 0.01, and the hint counts in the first 500 steps.
  return common.prior('blend', arg)

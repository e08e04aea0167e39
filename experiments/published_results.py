"""Results that papers report, for tables beside ours.

A table has these keys:

  name      a word for the columns of report.csv
  source    the paper, and the place in it where that is known
  test      its test set in words
  match     options of `data.test` that a run of ours on this set has
  pictures  their number; None where no run of ours can have the same
  protocol  metrics of ours that only this set's own protocol computes
  columns   column -> its convention
  digits    column -> decimals, as the paper prints it
  notes     how it was measured, and which numbers are confirmed
  rows      {column: number}, with `settings`, {config key: value}, where a
            setting of ours is the same, or else a `label`

In a key, `restorer.` is the network that restores, as in `grids`.

"Not confirmed" are numbers from memory of a paper, which no other source that
we could read repeats: check them in the paper before citing them.
"""

from collections.abc import Mapping
from typing import Any

_NAH = 'Nah, Kim and Lee, CVPR 2017 (arXiv 1612.02177)'
_KUPYN = 'Kupyn et al., CVPR 2018 (DeblurGAN, arXiv 1711.07064)'
_ULYANOV = 'Ulyanov, Vedaldi and Lempitsky, CVPR 2018 (arXiv 1711.10925)'
_REN = 'Ren et al., CVPR 2020 (SelfDeblur, arXiv 1908.02197)'
_KOHLER = "Koehler's benchmark, 48 pictures of 800x800"
_KOHLER_METRICS = ('psnr_kohler', 'ms_ssim_kohler')
_KOHLER_COLUMNS = {
    'psnr': 'PSNR of the best of about 199 sharp frames',
    'mssim': 'multi-scale SSIM of the best sharp frame',
}

NAH_K_SCALES = {
    'name': 'nah_gopro',
    'source': _NAH,
    'test': 'GoPro test set, 1111 frames of 1280x720, subset blur_gamma',
    'match': {'subset': 'blur_gamma', 'split': 'test'},
    'pictures': 1111,
    'protocol': (),
    'columns': {
        'psnr': 'PSNR of RGB frames, neither clipped nor rounded',
        'ssim_matlab3d': "MATLAB's ssim of RGB frames",
        'seconds': 'run time of a 1280x720 frame on a Titan X (Torch 7)',
    },
    'digits': {'psnr': 2, 'ssim_matlab3d': 4, 'seconds': 2},
    'notes': (
        'Trained with the adversarial term.',
        'PSNR and SSIM are confirmed by the article or other sources; the run '
        'times are not confirmed.',
    ),
    'rows': (
        {'settings': {'restorer.scales': 1},
         'psnr': 28.93, 'ssim_matlab3d': 0.9100, 'seconds': 7.21},
        {'settings': {'restorer.scales': 2},
         'psnr': 29.23, 'ssim_matlab3d': 0.9162, 'seconds': 4.33},
        {'settings': {'restorer.scales': 3},
         'psnr': 29.08, 'ssim_matlab3d': 0.9135, 'seconds': 3.09},
    ),
}

NAH_KOHLER = {
    'name': 'nah_kohler',
    'source': _NAH,
    'test': _KOHLER,
    'match': {},
    'pictures': 48,
    'protocol': _KOHLER_METRICS,
    'columns': _KOHLER_COLUMNS,
    'digits': {'psnr': 2, 'mssim': 4},
    'notes': (
        'Trained on GoPro with the adversarial term.',
        "K = 3 is confirmed by DeblurGAN-v2's table (26.48 / 0.807); K = 1 and "
        'K = 2 are not confirmed.',
        'Ours: deblur restore DIR/Blurry*.png -m RUN -o OUT --blur-threshold 0,'
        ' then experiments.evaluate_folder --restored=OUT --kohler=DIR '
        '--out=RUN/eval_kohler.json.',
    ),
    'rows': (
        {'settings': {'restorer.scales': 1}, 'psnr': 25.74, 'mssim': 0.8042},
        {'settings': {'restorer.scales': 2}, 'psnr': 26.02, 'mssim': 0.8116},
        {'settings': {'restorer.scales': 3}, 'psnr': 26.48, 'mssim': 0.8079},
    ),
}

DEBLURGAN_GOPRO = {
    'name': 'deblurgan_gopro',
    'source': f'{_KUPYN}, table 1',
    'test': 'GoPro test set, 1111 frames, subset blur',
    'match': {'subset': 'blur', 'split': 'test'},
    'pictures': 1111,
    'protocol': (),
    'columns': {
        'psnr': 'PSNR of 8-bit frames, after the correction of an overflow '
                'that gave 33.2, 30.3 and 33.3 dB at first',
        'cw_ssim': 'complex-wavelet SSIM of pyssim, not SSIM',
        'seconds': 'run time of a frame, GPU',
    },
    'digits': {'psnr': 1, 'cw_ssim': 3, 'seconds': 2},
    'notes': (
        'WILD: crops of GoPro frames of half size; Synth: COCO with synthetic '
        'kernels; Comb: both, 2 to 1.',
        "The PSNR and the times are confirmed by a figure of the authors' "
        'repository, which has 23.7 for Synth.',
        'Others who trained the released code report 25 to 28.3 dB; later '
        'papers quote 28.70 / 0.858 with the usual SSIM.',
    ),
    'rows': (
        {'label': 'WILD', 'psnr': 27.2, 'cw_ssim': 0.954, 'seconds': 0.85},
        {'label': 'Synth', 'psnr': 23.6, 'cw_ssim': 0.884, 'seconds': 0.85},
        {'label': 'Comb', 'psnr': 28.7, 'cw_ssim': 0.958, 'seconds': 0.85},
    ),
}

DEBLURGAN_KOHLER = {
    'name': 'deblurgan_kohler',
    'source': _KUPYN,
    'test': _KOHLER,
    'match': {},
    'pictures': 48,
    'protocol': _KOHLER_METRICS,
    'columns': _KOHLER_COLUMNS,
    'digits': {'psnr': 2, 'mssim': 3},
    'notes': (
        "WILD is confirmed by DeblurGAN-v2's table; Synth and Comb are not "
        'confirmed.',
    ),
    'rows': (
        {'label': 'WILD', 'psnr': 26.10, 'mssim': 0.816},
        {'label': 'Synth', 'psnr': 25.67, 'mssim': 0.792},
        {'label': 'Comb', 'psnr': 25.86, 'mssim': 0.802},
    ),
}

DEBLURGAN_DETECTION = {
    'name': 'deblurgan_detection',
    'source': _KUPYN,
    'test': "street pictures of the authors, with a detector of YOLO's family "
            'whose boxes in the sharp pictures are the truth',
    'match': {},
    'pictures': None,
    'protocol': (),
    'columns': {
        'precision': 'share of the boxes that are right',
        'recall': 'share of the true boxes that are found',
        'f1': 'harmonic mean of both',
    },
    'digits': {'precision': 3, 'recall': 3, 'f1': 3},
    'notes': (
        'Not confirmed, all of it.',
        'Ours: experiments.evaluate_detection, with another detector.',
    ),
    'rows': (
        {'label': 'input', 'precision': 0.821, 'recall': 0.437, 'f1': 0.570},
        {'label': 'Nah et al.',
         'precision': 0.834, 'recall': 0.552, 'f1': 0.665},
        {'label': 'WILD', 'precision': 0.764, 'recall': 0.631, 'f1': 0.691},
        {'label': 'Synth', 'precision': 0.801, 'recall': 0.517, 'f1': 0.628},
        {'label': 'Comb', 'precision': 0.671, 'recall': 0.742, 'f1': 0.704},
    ),
}

SRN_GOPRO = {
    'name': 'srn_gopro',
    'source': 'Tao et al., CVPR 2018 (SRN, arXiv 1802.01770)',
    'test': 'GoPro test set, 1111 frames, subset blur',
    'match': {'subset': 'blur', 'split': 'test'},
    'pictures': 1111,
    'protocol': (),
    'columns': {
        'psnr': "MATLAB's psnr of 8-bit RGB frames",
        'ssim_matlab3d': "MATLAB's ssim of 8-bit RGB frames",
    },
    'digits': {'psnr': 2, 'ssim_matlab3d': 4},
    'notes': (
        'Both rows are confirmed by the README of the authors and by later '
        'papers.',
        "The paper's ablation, weights shared or not and recurrent or not, is "
        'left out: we could not confirm its numbers. Its networks have kernels '
        "of 3x3 (the authors, issue 48 of their repository).",
    ),
    'rows': (
        {'settings': {'restorer.name': 'srn', 'restorer.scales': 3,
                      'restorer.shared': True, 'restorer.recurrent': True},
         'label': 'scales=3, shared, recurrent',
         'psnr': 30.26, 'ssim_matlab3d': 0.9342},
        {'label': 'the same, released weights',
         'psnr': 30.19, 'ssim_matlab3d': 0.9334},
    ),
}

DIP_DENOISING = {
    'name': 'dip_denoising',
    'source': _ULYANOV,
    'test': 'nine colour photographs with noise of sigma 25 of 255',
    'match': {},
    'pictures': None,
    'protocol': (),
    'columns': {'psnr': 'PSNR of RGB pictures, mean of nine'},
    'digits': {'psnr': 2},
    'notes': (
        'CBM3D is confirmed by the pictures that the authors ship. The others '
        'are not confirmed: the shipped results of the prior have 31.29, those '
        'of NLM 30.23, the noisy pictures 20.37.',
    ),
    'rows': (
        {'label': 'deep image prior, 1800 steps', 'psnr': 29.22},
        {'label': 'with averaged outputs', 'psnr': 30.43},
        {'label': 'and the mean of two fits', 'psnr': 31.00},
        {'label': 'CBM3D', 'psnr': 31.42},
        {'label': 'NLM', 'psnr': 30.26},
    ),
}

DIP_SUPER_RESOLUTION = {
    'name': 'dip_super_resolution',
    'source': f'{_ULYANOV}, measured on the pictures that the authors ship',
    'test': 'Set5 and Set14',
    'match': {},
    'pictures': None,
    'protocol': (),
    'columns': {
        key: f'PSNR of luma, {words}, 4 pixels shaved' for key, words in (
            ('set5_x4', 'Set5 at factor 4'), ('set5_x8', 'Set5 at factor 8'),
            ('set14_x4', 'Set14 at factor 4'),
            ('set14_x8', 'Set14 at factor 8'))},
    'digits': dict.fromkeys(('set5_x4', 'set5_x8', 'set14_x4', 'set14_x8'), 2),
    'notes': ("Computed from the authors' result pictures, on the part that "
              'the prior restored.',),
    'rows': (
        {'label': 'bicubic', 'set5_x4': 28.44, 'set5_x8': 24.37,
         'set14_x4': 26.05, 'set14_x8': 23.10},
        {'label': 'no prior', 'set5_x4': 26.56, 'set5_x8': 23.45,
         'set14_x4': 24.93, 'set14_x8': 22.56},
        {'label': 'total variation', 'set5_x4': 28.86, 'set5_x8': 24.88,
         'set14_x4': 26.42, 'set14_x8': 23.49},
        {'label': 'deep image prior', 'set5_x4': 29.90, 'set5_x8': 25.89,
         'set14_x4': 27.01, 'set14_x8': 24.15},
        {'label': 'LapSRN (trained)', 'set5_x4': 31.59, 'set5_x8': 26.10,
         'set14_x4': 28.13, 'set14_x8': 24.36},
    ),
}

DIP_INPAINTING = {
    'name': 'dip_inpainting',
    'source': f'{_ULYANOV}, measured on the pictures that the authors ship',
    'test': 'eleven gray pictures without half of their pixels',
    'match': {},
    'pictures': None,
    'protocol': (),
    'columns': {'psnr': 'PSNR, mean of eleven'},
    'digits': {'psnr': 2},
    'notes': ("Computed from the authors' result pictures; the paper's table "
              'agrees within 0.2 dB where we could compare.',),
    'rows': (
        {'label': 'nearest pixel', 'psnr': 27.50},
        {'label': 'Papyan et al.', 'psnr': 31.16},
        {'label': 'deep image prior', 'psnr': 33.44},
    ),
}

SELFDEBLUR_LEVIN = {
    'name': 'selfdeblur_levin',
    'source': _REN,
    'test': "Levin's 32 gray pictures of 255x255",
    'match': {},
    'pictures': None,
    'protocol': (),
    'columns': {
        'psnr': 'PSNR after the best shift, border of 15 pixels cut',
        'ssim': 'SSIM after the same shift',
    },
    'digits': {'psnr': 2, 'ssim': 4},
    'notes': (
        "Not confirmed. The pictures of a run of SelfDeblur that W-DIP's "
        'authors ship have 33.25 / 0.919, one of them 18.9 dB.',
        'Error ratio of SelfDeblur: 1.197; 224 s a picture.',
    ),
    'rows': (
        {'label': 'the true kernel', 'psnr': 34.53, 'ssim': 0.9492},
        {'label': 'Krishnan et al.', 'psnr': 29.88, 'ssim': 0.8666},
        {'label': 'Cho and Lee', 'psnr': 30.57, 'ssim': 0.8966},
        {'label': 'Levin et al.', 'psnr': 30.80, 'ssim': 0.9092},
        {'label': 'Xu and Jia', 'psnr': 31.67, 'ssim': 0.9163},
        {'label': 'Sun et al.', 'psnr': 32.99, 'ssim': 0.9330},
        {'label': 'Zuo et al.', 'psnr': 32.66, 'ssim': 0.9332},
        {'label': 'Pan et al., dark channel', 'psnr': 32.69, 'ssim': 0.9284},
        {'label': 'SRN (trained)', 'psnr': 23.43, 'ssim': 0.7117},
        {'label': 'SelfDeblur', 'psnr': 33.07, 'ssim': 0.9313},
    ),
}

SELFDEBLUR_LAI = {
    'name': 'selfdeblur_lai',
    'source': _REN,
    'test': "Lai's pictures, means",
    'match': {},
    'pictures': None,
    'protocol': (),
    'columns': {'psnr': 'PSNR', 'ssim': 'SSIM'},
    'digits': {'psnr': 2, 'ssim': 4},
    'notes': ('Not confirmed.',),
    'rows': (
        {'label': 'Xu and Jia', 'psnr': 20.18, 'ssim': 0.7080},
        {'label': 'Pan et al., dark channel', 'psnr': 19.89, 'ssim': 0.6656},
        {'label': 'SelfDeblur', 'psnr': 20.97, 'ssim': 0.7524},
    ),
}

# Of a prior's task, for comparisons by `ablate --task`.
OF_TASKS: dict[str, tuple[Mapping[str, Any], ...]] = {
    'denoise': (DIP_DENOISING,),
    'sr': (DIP_SUPER_RESOLUTION,),
    'inpaint': (DIP_INPAINTING,),
    'blind': (SELFDEBLUR_LEVIN, SELFDEBLUR_LAI),
}

"""Results that papers report of their own ablations, for tables beside ours.

A table has `source`, `test` (the test set), `match` and `pictures` (whether a
run of ours was tested on the same set), `columns` with their conventions,
`notes`, and `rows`: {'settings': {config key: value}, column: number}.
"""

NAH_K_SCALES = {
    'name': 'nah_gopro',
    'source': 'Nah, Kim and Lee, CVPR 2017 (arXiv 1612.02177)',
    'test': 'GoPro test set, 1111 frames of 1280x720, subset blur_gamma',
    'match': {'subset': 'blur_gamma', 'split': 'test'},
    'pictures': 1111,
    'protocol': (),
    'columns': {
        'psnr': 'PSNR of RGB frames, neither clipped nor rounded',
        'ssim_matlab3d': "MATLAB's ssim of RGB frames",
        'seconds': 'run time of a 1280x720 frame on a Titan X (Torch 7)',
    },
    'notes': (
        'Trained with the adversarial term.',
        'K = 3, the PSNR of K = 1 and 29.23 / 0.916 of K = 2 are confirmed by '
        'other sources; the SSIM of K = 1 and the run times are not: check '
        'them in the paper before citing them.',
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

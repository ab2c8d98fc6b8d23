"The picture that README begins with: test images of CIFAR-10 (JPEG copy) as four saved runs copy them."
from pathlib import Path

import matplotlib.pyplot as plt

from aebench.core.files import write_bytes
from aebench.core.pictures import draw_rows, figure_png
from aebench.report.panels import read_samples
from aebench.report.rows import read_rows
from aebench.run_folder import SAMPLES_PNG

RESULTS = Path(__file__).resolve().parent.parent/'results'
SHOWN = {'cifar10-jpeg': ('baseline', 'pretraining', 'feature_loss'), 'cifar10-jpeg-modern': ('modern',)} # Methods of each folder
NUMBERS = {'cifar10-jpeg-modern': 128} # In the latent, where a folder has several
COLUMNS = 6

def strip() -> dict: # Label → images
    "Originals, and what each method makes of them, with its figures."
    found = {}
    for name, methods in SHOWN.items():
        rows = read_rows(RESULTS/name)
        for method in methods:
            row = rows[(rows.method == method) & (rows.latent == NUMBERS.get(name, rows.latent))].iloc[0]
            pairs = read_samples(RESULTS/name/row.run/SAMPLES_PNG)[:COLUMNS]
            found.setdefault('Original\nfirst test images', [a for a, _ in pairs])
            found[f'{row.label}, {row.latent:,} numbers\nMSE {row.mse:.4f}\n{row.accuracy:.0%} recognised'] = [b for _, b in pairs]
    return found

if __name__ == '__main__':
    draw_rows(strip(), imsize=1.1)
    write_bytes(RESULTS/'strip.png', figure_png(plt.gcf()))

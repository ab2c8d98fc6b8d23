"""Images of noise, and rows and run folders with made-up figures in a plausible order: nothing was trained.

For the notebooks that read, describe and draw them."""
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from aebench.core.files import write_bytes, write_json
from aebench.registry import METHODS, find_method, get_methods
from aebench.settings import SCHEMA

def make_images(folder, names, size=12):
    "Files of noise."
    for i, name in enumerate(names):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder/name)

def made_up_samples(method, n=6, size=32):
    "Made-up pictures: two blobs on a gradient; the «output» is a blurred copy."
    y, x = np.mgrid[:size, :size]/size
    def one(i):
        a = np.exp(-((x-.3-.06*i)**2 + (y-.35)**2)*25)[..., None]*[1, .4+.1*i, .1]
        b = np.exp(-((x-.7)**2 + (y-.7-.03*i)**2)*40)[..., None]*[.1, .5, 1-.1*i]
        return np.clip((.15+.2*y[..., None])*[.8, .9, 1] + a + b + .25*((x*8).astype(int)+(y*8).astype(int))[..., None]%2*.25, 0, 1)
    inputs = Image.fromarray((np.concatenate([one(i) for i in range(n)], 1)*255).astype('uint8'))
    k = 2 + list(METHODS).index(method)%3
    outputs = inputs.resize((n*size//k, size//k), Image.Resampling.BOX).resize(inputs.size, Image.Resampling.BICUBIC)
    both = Image.new('RGB', (n*size, 2*size))
    both.paste(inputs, (0, 0))
    both.paste(outputs, (0, size))
    data = io.BytesIO()
    both.save(data, 'PNG')
    return data.getvalue()

def made_up_run(out, method, seed=3333, pictures=True, **changes):
    "A run folder with made-up figures in a plausible order: nothing was trained."
    i = list(METHODS).index(method) if method in METHODS else 0
    rng = np.random.default_rng(seed*10+i)
    mse = [.0043, .0044, .0043, .0114, .0110, .0042][i]*(1+.01*rng.normal())
    row = dict(schema_version=SCHEMA, method=method, label=find_method(method).label, data='cifar10',
               data_label='CIFAR-10 (made-up figures)', status='done', reason='',
               seed=seed, mae=mse**.5*.7, mse=mse, psnr=-10*np.log10(mse), ssim=.9-20*mse, r2=.9, explained_variance=.9,
               accuracy=[.46, .48, .46, .23, .22, .62][i], agreement=[.5, .52, .5, .25, .24, .66][i],
               seconds=[1427, 1626, 1385, 1452, 1566, 1714][i]/10,
               images_per_second=[9100, 7800, 9300, 5200, 5100, 2900][i], peak_memory_mb=[410, 520, 410, 900, 910, 1400][i],
               parameters=[3_084_000, 3_090_000, 3_084_000, 22_863_000, 22_863_000, 3_084_000][i], latent=find_method(method).latent,
               size=32, epochs=(5, 10), batch_size=128, protocol='report', lr=(1e-6, .01) if method == 'pretraining' else .001,
               weights='in-domain', judges=('resnet34',), classifier='resnet34, trained on the training labels for 10 epochs',
               device='cuda', device_name='a made-up GPU', threads=2, precision='fp32',
               n_train=50_000, n_test=10_000, data_fingerprint='0123456789abcdef',
               aebench='0.1.0', torch='2.6.0', fastai='2.8.2', python='3.11.7', git_revision='0123456789ab',
               command=f'aebench run --methods {method} --data cifar10 --protocol report --weights in-domain --seed {seed}')
    folder = Path(out)/f'{method}-seed{seed}'
    write_json(folder/'row.json', {**row, **changes})
    write_json(folder/'run.json', dict(settings={}, environment=dict(torchvision='0.21.0', platform='Linux'), data={}))
    if not pictures: return folder
    scale = 1 if method != 'feature_loss' else 400
    lines = [(1+(e>5), e, 16 if e <= 5 and method == 'progressive_resizing' else 32,
              scale*mse*(1+12/e**1.3), scale*mse*(1+10/e**1.3+.05*rng.random())) for e in range(1, 16)]
    pd.DataFrame(lines, columns='phase epoch size train_loss valid_loss'.split()).to_csv(folder/'history.csv', index=False)
    lr = np.geomspace(1e-7, 10, 100)
    pd.DataFrame(dict(lr=lr, loss=scale*(.09-.05/(1+(1e-3/lr)) + np.maximum(0, np.log10(lr/.1))**3))).to_csv(
        folder/'lr_find.csv', index=False)
    write_bytes(folder/'samples.png', made_up_samples(method))
    return folder

def made_up_original(out, **changes):
    write_json(Path(out)/'original'/'row.json', {
        **dict(schema_version=SCHEMA, method='original', label='Original Image', data='cifar10', data_label='CIFAR-10 (made-up figures)',
               status='done', accuracy=.82, size=32, n_train=50_000, n_test=10_000, data_fingerprint='0123456789abcdef'), **changes})

def made_up(method, seed=3333, **changes):
    "A row of made-up figures: the order is plausible, nothing was trained."
    i = list(METHODS).index(method) if method in METHODS else len(METHODS)
    row = dict(schema_version=SCHEMA, run='', method=method, label=find_method(method).label, data='digits', data_label='Digits',
               status='done', reason='',
               seed=seed, mae=.05+.01*i, mse=.004+.001*i, psnr=24.-i, ssim=.9-.02*i, r2=.8, explained_variance=.8,
               accuracy=.9+.01*i, agreement=.91+.01*i, seconds=12.5+i, images_per_second=1500.-100*i,
               peak_memory_mb=None, parameters=100_000+i, latent=32, size=16, epochs=(5, 10), batch_size=32, protocol='tuned', lr=.001,
               weights='in-domain', judges=('resnet34',), classifier='resnet34, trained on the training labels for 10 epochs',
               device='cpu', device_name='a made-up processor', threads=2, precision='fp32',
               n_train=1497, n_test=300, data_fingerprint='0123456789abcdef',
               command=f'aebench run --methods {method} --data digits --seed {seed}') | changes
    return dict(cpu_seconds=row['seconds'] and 2*row['seconds']) | row

def original(**changes):
    keys = 'schema_version run data data_label status reason size n_train n_test data_fingerprint judges classifier'.split()
    return {**{k: v for k, v in made_up('baseline').items() if k in keys},
            'method': 'original', 'label': 'Original Image', 'accuracy': .97, **changes}

def reference(name, **changes):
    return {**original(), 'method': name, 'label': find_method(name).label,
            'mae': .03, 'mse': .002, 'psnr': 27., 'ssim': .95, 'accuracy': .93, 'agreement': .94,
            'latent': int(name.partition('-')[2]) if name.startswith('pca-') else 16, 'bytes_per_image': 64., **changes}

def fake_out(folder, rows):
    "An output folder with these rows."
    for i, row in enumerate(rows):
        write_json(Path(folder)/('original' if row['method'] == 'original' else f'{row["method"]}-{i}')/'row.json', row)
    return Path(folder)

def frame(*rows):
    from aebench.report.rows import frame_rows  # here: the notebooks before it use this file as well
    return frame_rows(list(rows))

MNIST = dict(data='mnist', data_label='MNIST', data_fingerprint='1', size=32, latent=1000) # Changes of a row
AS_PUBLISHED = {**MNIST, 'protocol': 'report', 'weights': 'imagenet', 'batch_size': 128, 'n_train': 60_000, 'n_test': 10_000}

def six_methods(): return frame(original(), *(made_up(m.name) for m in get_methods()))

def three_seeds():
    return frame(*(made_up(m, 3333+i, mse=mse+.0002*i, seconds=100+2*i)
                   for m, mse in (('baseline', .0043), ('feature_loss', .0040)) for i in range(3)), original())

def with_references():
    return frame(original(), made_up('baseline', equals_pca=17, bytes_per_image=128.), made_up('pixel_shuffle+feature_loss'),
                 reference('pca-64'), reference('pca-8'), reference('webp-50', latent=None))

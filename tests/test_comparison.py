"Comparisons that can be believed, as their users meet them: references, seeds, sweeps, designs, bytes."
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aebench.codec.references import MAX_EXACT
from aebench.report.rows import read_rows
from made_up import made_up_run
from test_cli import QUICK, make_folder, quickly

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture(scope='module')
def compared(home, tmp_path_factory):
    "A technique crossed with another over two seeds, beside references."
    out = tmp_path_factory.mktemp('compared')
    code, table, err = quickly(*QUICK, '--design', 'factorial', '--methods', 'pixel_shuffle,progressive_resizing', '--seeds', 2,
                               '--references', '--batch-size', 16, '--verbose', '--out', out, home=home)  # 50 steps
    assert code == 0, err
    return out, table, err, pd.read_csv(out/'results.csv')

def one(rows, method): return rows[rows.method == method].iloc[0]

def test_references_stand_beside_networks(compared):
    out, table, err, rows = compared
    assert list(dict.fromkeys(rows.method)) == [
        'original', 'baseline', 'pixel_shuffle', 'progressive_resizing', 'pixel_shuffle+progressive_resizing',
        'mean_image', 'pca-16', 'pca-32', 'pca-64', 'dct-32', 'thumbnail_nearest-8', 'thumbnail_bicubic-8', 'jpeg-50', 'webp-50']
    assert (rows.status == 'done').all() and rows[rows.seed.notna()].equals_pca.notna().all()
    assert one(rows, 'mean_image').mse > one(rows, 'pca-16').mse > one(rows, 'pca-32').mse > one(rows, 'pca-64').mse
    assert one(rows, 'pca-32').accuracy > .5 and one(rows, 'webp-50').bytes_per_image > 50
    assert ('PCA-32' in table and 'Thumbnail 8×8, bicubic' in table
            and ('≈ PCA-' in err or 'no better than the mean image' in err) and ' bytes an image' in err)

def test_equal_components_are_equal(compared):
    "The number of components that a network is told does have about its error."
    rows = compared[3]
    row = one(rows, 'baseline')
    below = rows[(rows.method.str.startswith('pca-')) & (rows.mse > row.mse)].latent.max()
    above = rows[(rows.method.str.startswith('pca-')) & (rows.mse <= row.mse)].latent.min()
    assert (np.isnan(below) or row.equals_pca > below) and row.equals_pca <= above

def test_effects_and_verdicts_in_the_report(compared):
    out, table, _, _ = compared
    page = (out/'report.html').read_text()
    assert 'Effects of crossed techniques' in page and 'The latent itself' in page and 'Bytes and quality' in page
    assert (out/'report'/'effects.png').exists() and (out/'report'/'rates.png').exists()
    assert 'MSE: ' in table and ' leads' in table

def test_sweep_of_latents(home, tmp_path):
    code, table, err = quickly(*QUICK, '--methods', 'baseline', '--latent', '4,16', '--out', tmp_path, home=home)
    assert code == 0, err
    assert ('latent 4' in table and 'latent 16' in table and {'pca-4', 'pca-16'} < set(read_rows(tmp_path).method)
            and 'Latent size' in (tmp_path/'report.html').read_text())

def test_two_judges_and_half_a_design(home, tmp_path):
    "As a user asks for them: both accuracies in the table, and effects that name what half a design cannot tell apart."
    code, table, err = quickly(*QUICK, '--limit', 300, '--design', 'half',
                               '--methods', 'pixel_shuffle,progressive_resizing,feature_loss', '--seeds', 2,
                               '--judges', 'resnet34,vgg16_bn', '--out', tmp_path, home=home)
    assert code == 0, err
    rows = pd.read_csv(tmp_path/'results.csv')
    networks, page = rows[rows.seed.notna()], (tmp_path/'report.html').read_text()
    assert (networks.method.nunique() == 4 and networks.accuracy.between(0, 1).all()
            and networks.accuracy_vgg16_bn.between(0, 1).all() and (networks.accuracy != networks.accuracy_vgg16_bn).any())
    assert ('Recognised by vgg16_bn' in page and 'Effects of crossed techniques' in page and '(or ' in page
            and 'Feature Loss was trained with the very vgg16_bn that judges' in page)
    assert 'vgg16_bn' in table

def test_many_seeds_ask_first(home, tmp_path):
    code, _, err = quickly('run', '--methods', 'baseline', '--seeds', 500, '--epochs', 500, 500, '--out', tmp_path, home=home)
    assert code == 2 and '500 networks would take about' in err and 'add --yes' in err and not list(tmp_path.glob('*/model.safetensors'))

def test_larger_images(home, tmp_path):
    "40 colour pixels a side have more numbers than the exact components are computed of."
    assert 3*40*40 > MAX_EXACT
    methods = ['baseline', 'pretraining', 'feature_loss', 'pca-8']
    folder = make_folder(tmp_path/'photos', n=24)
    code, _, err = quickly('run', '--data', folder, '--size', 40, '--methods', ','.join(methods), '--weights', 'random',
                           '--epochs', 1, 1, '--latent', 8, '--batch-size', 8, '--out', tmp_path/'out', home=home)
    assert code == 0, err
    rows = pd.read_csv(tmp_path/'out'/'results.csv').set_index('method').loc[methods]
    assert (rows['size'] == 40).all() and (rows.status == 'done').all() and (rows.mse > 0).all()

def test_equal_time(home, tmp_path):
    words = ['run', '--methods', 'baseline,pixel_shuffle', '--out', tmp_path, '--budget']
    for wrong, said in ((['seconds'], 'give --seconds T'), (['epochs', '--seconds', 2], 'contradict')):
        code, _, err = quickly(*words, *wrong, home=home)
        assert code == 2 and said in err
    code, _, err = quickly(*words, 'seconds', '--seconds', 2, home=home)
    assert code == 0, err
    histories = [pd.read_csv(o).train_seconds.sum() for o in tmp_path.glob('*/history.csv')]
    assert len(histories) == 2 and all(2 <= o < 4 for o in histories)  # the two phases divide them: 4 would be all of it for each

def test_a_long_design_asks_first(home, tmp_path):
    words = ['run', '--design', 'factorial', '--methods', 'pixel_shuffle,feature_loss', '--epochs', 5000, 5000, '--out', tmp_path]
    code, _, err = quickly(*words, home=home)
    assert code == 2 and '4 networks would take about' in err and '--yes' in err and not list(tmp_path.glob('*-seed*'))

def test_compressed_and_back(compared, home, tmp_path):
    "A folder as one file, and the images again; a table of latents, likewise."
    out, rows = compared[0], compared[3]
    run, other = (out/one(rows, method).run for method in ('baseline', 'pca-32'))
    names = sorted(o.relative_to(folder) for folder in [make_folder(tmp_path/'in')] for o in folder.rglob('*.png'))
    file, table = tmp_path/'small.ae', tmp_path/'latents.parquet'
    code, summary, err = quickly('compress', tmp_path/'in', '--run', run, '--out', file, home=home)
    assert code == 0 and f'{len(names)} images, cut to squares of ' in summary and 'The decoder itself is paid for' in summary, err
    for words, back in ((('decompress', file), tmp_path/'a'), (('decompress', file), tmp_path/'b')):
        code, _, err = quickly(*words, '--run', run, '--out', back, home=home)
        assert code == 0, err
    images = [[np.asarray(Image.open(back/o)) for o in names] for back in (tmp_path/'a', tmp_path/'b')]
    assert np.array_equal(*images) and images[0][0].shape == (16, 16, 3)
    assert quickly('encode', tmp_path/'in', '--run', run, '--out', table, home=home)[0] == 0
    assert quickly('decode', table, '--run', run, '--out', tmp_path/'c', home=home)[0] == 0
    assert sorted(o.relative_to(tmp_path/'c') for o in (tmp_path/'c').rglob('*.png')) == names
    data = file.read_bytes()
    for name, content, sentence in (('cut', data[:-9], 'cut or altered'), ('altered', data[:60] + b'?' + data[61:], 'cut or altered'),
                                    ('strange', b'no such file', 'was not made by aebench')):
        (tmp_path/name).write_bytes(content)
        code, _, err = quickly('decompress', tmp_path/name, '--run', run, '--out', tmp_path/'none', home=home)
        assert code == 2 and sentence in err and 'Traceback' not in err and not (tmp_path/'none').exists()
    for words in (('decompress', file), ('decode', table)):
        code, _, err = quickly(*words, '--run', other, '--out', tmp_path/'none', home=home)
        assert code == 2 and 'was made with the weights' in err and 'Traceback' not in err

def test_diff(compared, home):
    out, rows = compared[0], compared[3]
    a, b = (out/one(rows, method).run for method in ('baseline', 'pixel_shuffle'))
    code, text, err = quickly('diff', a, b, home=home)
    assert (code == 0 and 'settings.method: baseline | pixel_shuffle' in text
            and 'the noise of the test images' in text and 'seeds alone' in text), err
    assert quickly('diff', a, out, home=home)[0] == 2

def test_other_sizes(compared, home):
    out = compared[0]
    code, text, err = quickly('sizes', out, '--sizes', 8, 24, home=home)
    assert code == 0 and 'resized' in text and 'pooled' in text, err
    assert (out/'report'/'sizes.png').exists() and 'MSE against image size' in (out/'report.html').read_text()
    assert quickly('sizes', out, '--sizes', 30, home=home)[0] == 2

KNOWN = { # MSE, worked out elsewhere too
    'cifar10-jpeg': {'pca-1000': 3.9e-5, 'pca-128': .00466, 'pca-64': .00797, 'thumbnail_nearest-16': .0041, 'thumbnail_bicubic-16': .0026},
    'mnist-28-references': {'pca-64': .00775, 'pca-128': .00340, 'pca-256': .00107}}

@pytest.mark.parametrize('folder', KNOWN)
def test_saved_references(folder):
    "What principal components and thumbnails make of the JPEG copy of CIFAR-10, and of MNIST at its own size: within 3 %."
    rows = read_rows(Path(__file__).parent.parent/'results'/folder).set_index('method')
    for method, mse in KNOWN[folder].items(): assert abs(rows.mse[method]/mse - 1) < .03, method

def test_what_a_clone_keeps(tmp_path, monkeypatch):
    "Rows and curves of all runs; pictures of a method's first seed; neither models nor reports."
    monkeypatch.syspath_prepend(ROOT/'tools')
    from keep_results import copy_runs
    runs = [made_up_run(tmp_path/'runs', 'baseline', seed) for seed in (1, 2)]
    for run in runs:
        for file in ('model.safetensors', 'map.png'): (run/file).write_bytes(b'large')
    copy_runs(tmp_path/'runs', tmp_path/'kept', 0)
    kept = [{o.name for o in (tmp_path/'kept'/run.name).iterdir()} for run in runs]
    assert kept[0] - kept[1] == {'samples.png'} and kept[1] == {'row.json', 'run.json', 'history.csv', 'lr_find.csv'}
    copy_runs(tmp_path/'runs', tmp_path/'kept', 1000)
    assert (tmp_path/'kept'/runs[0].name/'map.png').is_file()

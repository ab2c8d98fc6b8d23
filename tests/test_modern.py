"Networks that start from principal components: never worse, any first numbers make an image, and they are used as all others."
import json
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from PIL import Image

import aebench.bench.run
import aebench.cli
from aebench import load
from aebench.apply import Trained
from aebench.apply.export import FORMATS, PARTS, export_model, run_torch
from aebench.apply.share import model_folder, pull
from aebench.bench.run import choose_all_gates, do_run, fit_run, learner_for, make_model, train_run
from aebench.bench.sizes import at_sizes, ways_for
from aebench.bench.train import batch_for, epochs_for, plan_training
from aebench.callback.checkpoint import Checkpoint
from aebench.codec.archive import write_images
from aebench.codec.protocol import FirstNumbers, first_numbers
from aebench.codec.refined import plain
from aebench.codec.references import principal_components
from aebench.core.errors import Interrupted, UsageError
from aebench.data import ImageSet, load_images
from aebench.models import autoencoder
from aebench.modern.linear_path import DEARER, PathAutoEncoder, choose_gates
from aebench.modern.nested import drawn_lengths, nested_lengths
from aebench.modern.recipe import batches_of, build_network, held_out_mask
from aebench.modern.rounded import drawn_steps
from aebench.registry import METHODS, get_method
from aebench.run_folder import LENGTHS_CSV
from aebench.settings import Run, config_of, plan_runs

pytestmark = pytest.mark.usefixtures('at_home')

@pytest.fixture(scope='module')
def data(at_home): return load_images('digits')

# Methods, of which all but two have a latent whose first numbers make an image
MADE = {'nested': 'modern+nested', 'whole': 'modern', 'components': 'pca-16', 'plain': 'nested', 'linear': 'linear_path',
        'refined': 'modern+nested+refined'}

@pytest.fixture(scope='module')
def runs(data, tmp_path_factory):
    "The folders of short trainings, with a latent of 16 numbers."
    few, out = replace(data, train_x=data.train_x[:200], train_y=data.train_y[:200], fingerprint='few'), tmp_path_factory.mktemp('modern')
    for name, method in MADE.items(): do_run(plan_runs(method, 'digits', latent=16, epochs=(1, 1), batch_size=64)[0], few, [], out/name)
    return out

# ---- any first numbers

def test_processes_of_a_team_draw_different_lengths(monkeypatch):
    "And each goes on with the same random numbers as the others."
    def drawn(rank):
        monkeypatch.setattr(dist, 'is_initialized', lambda: True)
        monkeypatch.setattr(dist, 'get_rank', lambda: rank)
        torch.manual_seed(1)
        return drawn_lengths(64, 128), drawn_steps(64), torch.rand(4)
    (lengths, steps, after), others = drawn(0), drawn(1)
    assert (lengths != others[0]).any() and (steps != others[1]).any() and torch.equal(after, others[2])
    assert torch.equal(lengths, drawn(0)[0])

@pytest.mark.parametrize('name', ['nested', 'components', 'plain', 'refined'])
def test_any_first_numbers_make_an_image(name, runs, data):
    ae, images = load(runs/name, 'cpu'), data.test_x[:20]
    assert ae.nested and ae.latent == 16
    for n in range(1, 17):
        z = ae.encode(images, n)
        copies = ae.decode(z)
        assert z.shape == (20, n) and copies.shape == images.shape and torch.equal(copies, ae.reconstruct(images, n))
        assert ae.decode(z[0]).shape == images.shape[1:] and torch.allclose(ae.decode(z[0]), copies[0], atol=1e-5)
        assert torch.allclose(ae.errors(images, n), (copies - images/255).square().mean((1, 2, 3)), atol=1e-7)
    assert torch.equal(ae.encode(images, 16), ae.encode(images)) and torch.equal(ae.reconstruct(images, 16), ae.reconstruct(images))
    arrays = images.permute(0, 2, 3, 1).numpy()
    assert isinstance(ae.encode(arrays, 5), np.ndarray) and np.allclose(ae.encode(arrays, 5), ae.encode(images, 5))
    errors = [float(ae.errors(data.test_x, n).mean()) for n in (4, 8, 16)]
    assert errors == sorted(errors, reverse=True)

@pytest.mark.parametrize('name', MADE)
@pytest.mark.parametrize('numbers', [0, -1, 17, 1000])
def test_numbers_that_make_no_image_are_refused(name, numbers, runs, data):
    ae, images = load(runs/name, 'cpu'), data.test_x[:2]
    wanted = 'give 1 to 16' if ae.nested else 'give all 16'
    for act in (ae.encode, ae.reconstruct, ae.errors):
        with pytest.raises(UsageError, match=wanted): act(images, numbers)
    with pytest.raises(UsageError, match='16'): ae.decode(np.zeros((2, max(numbers, 0)), np.float32))

def test_a_latent_that_is_not_nested_is_taken_whole(runs, data):
    ae = load(runs/'whole', 'cpu')
    assert not ae.nested and ae.encode(data.test_x[:3], 16).shape == (3, 16)
    with pytest.raises(UsageError, match='which only make an image together, and 8 were asked for: give all 16'):
        ae.encode(data.test_x[:3], 8)
    with pytest.raises(UsageError, match='takes 16 numbers an image'): ae.decode(np.zeros((3, 8)))
    own = Trained(autoencoder(latent=8, size=16, channels=1).eval(), 16)
    with pytest.raises(UsageError, match='give all 8'): own.encode(data.test_x[:3], 4)

@pytest.mark.parametrize('training', [True, False])
def test_first_numbers_are_a_codec(training):
    network = autoencoder(latent=8, size=16, channels=1).train(training)
    network.nested = True
    short = first_numbers(network, 3)
    assert isinstance(short, FirstNumbers) and short.training == network.training == training and short.latent == 3

@pytest.mark.parametrize('size,latent', [(8, 4), (16, 100), (32, 256)])
def test_a_map_is_decoded_at_any_size(size, latent):
    network = autoencoder('conv_map', size=size, latent=latent, channels=1).eval()
    for s in (size, size+8): assert network(torch.rand(2, 1, s, s)).shape == (2, 1, s, s)

# ---- latents that are refined on each image

def test_a_refined_run_is_measured_and_used_as_such(runs, data):
    "Its weights are those of a run that is not refined, its copies are better, and whoever decodes sees no difference."
    one, refined = load(runs/'nested', 'cpu'), load(runs/'refined', 'cpu')
    x = data.test_x
    assert all(torch.equal(a, b) for a, b in zip(one.codec.state_dict().values(), plain(refined.codec).state_dict().values(), strict=True))
    assert (refined.errors(x) <= one.errors(x)).all() and refined.errors(x).mean() < .95*one.errors(x).mean()
    assert torch.equal(refined.decode(refined.encode(x)), one.decode(refined.encode(x)))
    assert refined.row['mse'] == pytest.approx(float(refined.errors(x).mean()), rel=1e-3)
    assert torch.allclose(one.refined().encode(x[:9]), refined.encode(x[:9]), atol=1e-3)
    assert 'refined by 10 steps' in repr(one.refined()) and 'refined' not in repr(one)
    assert torch.equal(refined.refined(0).encode(x[:5]), one.encode(x[:5]))
    lengths = [pd.read_csv(runs/o/LENGTHS_CSV).mse for o in ('nested', 'refined')]
    assert (lengths[1] < lengths[0]).all()

@pytest.fixture(scope='module')
def digit_files(data, tmp_path_factory):
    return Path(write_images(data.test_x[:12], [f'{i:02d}' for i in range(12)], tmp_path_factory.mktemp('digits'))[0]).parent

@pytest.mark.parametrize('name', ['whole', 'components', 'refined'])
def test_refined_latents_are_coded_and_written(name, runs, digit_files, tmp_path, monkeypatch, capsys):
    "The files are smaller in error and not in form: the command that decodes takes no flag."
    monkeypatch.chdir(tmp_path)
    def do(*words): assert aebench.cli.main([str(o) for o in (*words, '--run', runs/name)]) == 0
    def error(*flags):
        do('reconstruct', digit_files, '--out', 'copies', '--overwrite', '--json', *flags)
        return json.loads(capsys.readouterr().out)['mse']
    assert error('--refine') <= error() and (name == 'refined' or error('--refine') < error())
    for command, back, file in (('compress', 'decompress', 'a.ae'), ('encode', 'decode', 'a.csv')):
        do(command, digit_files, '--out', file, '--refine')
        do(back, file, '--out', f'{back}ed')
        assert len(list((tmp_path/f'{back}ed').glob('*.png'))) == 12

def test_a_refined_model_is_exported_in_one_pass(runs, data, tmp_path):
    export_model(load(runs/'refined', 'cpu'), tmp_path/'encoder.pt2', 'torch', 'encoder')
    x = data.test_x[:3].float()/255
    assert np.allclose(run_torch((tmp_path/'encoder.pt2').read_bytes(), x)[0], load(runs/'nested', 'cpu').encode(x).numpy(), atol=1e-4)

def test_latents_that_are_rounded_are_not_refined():
    with pytest.raises(UsageError, match='rounded gain nothing by being refined: leave it out'): get_method('refined+rounded')
    model = build_network('residual', latent=8, size=16, channels=1, linear_path=True, rounded=True).eval()
    with pytest.raises(UsageError, match='use the model as it is'): Trained(model, 16).refined()

# ---- aebench train

def mixture(folder:Path, n:int, size:int=20) -> Path:
    "Smooth images of several formats, sizes and modes."
    gen, folder = np.random.default_rng(0), folder
    folder.mkdir(parents=True)
    for i in range(n):
        small = Image.fromarray(gen.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        image = small.resize((size + i % 5, size + i % 3), Image.Resampling.BICUBIC).convert(('RGB', 'L', 'RGBA', 'P')[i % 4])
        if i % 4 in (2, 3) and i % 5 == 1: image = image.convert('RGB')  # JPEG has neither
        image.save(folder/f'{i:03}.{("png", "jpg", "webp", "tiff", "bmp")[i % 5]}')
    return folder

@pytest.fixture(scope='module')
def photos(tmp_path_factory): return mixture(tmp_path_factory.mktemp('images')/'my photos', 60)

def model_of(out:str) -> Path: return Path(re.search('The model is in (.+)', out)[1])

def test_a_folder_is_trained_on_and_the_model_used(photos, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = said('train', photos, '--size', 16, '--epochs', 2, '--device', 'cpu')
    folder = model_of(out)
    assert code == 0 and folder.parent == Path('models/my-photos') and (folder/'row.json').is_file()
    assert (re.search(r'16×16 pixels ↔ 128 numbers\nMSE \d\.\d+, PSNR \d+\.\d+ dB; .*PCA-47', out)
            and re.search(r'first numbers +4 +8 +16 .* 128\n +MSE( +\d\.\d+(e-\d\d)?)+\n', out))
    assert all(len(o) < 80 for o in out.split('\n') if o.startswith(' ')) and f'its copies of them: {folder/"samples.png"}' in out
    assert ('2 epochs of 1 step, in batches of 32' in err
            and re.search(r'so far (\S+ % (below|above)|as) PCA-47: epoch 2/2', err) and 'measuring…' in err)
    assert '128 numbers are no fewer than the 48 training images, which principal components then copy exactly' in err
    for command in ('compress', 'encode', 'anomaly NEW-IMAGES --level 0.1'):
        assert f'aebench {command}' in err and err.count(' --run models/my-photos\n') == 3
    row = json.loads((folder/'row.json').read_text())
    assert ((row['method'], row['latent'], row['settings']['epochs'], row['settings']['batch_size'], row.get('accuracy'))
            == ('nested+modern', 128, [0, 2], 32, None))
    code, again, err = said('train', photos, '--size', 16, '--epochs', 2, '--device', 'cpu')  # there already
    assert code == 0 and again == out and 'epoch 1/2' not in err and 'is trained already with these settings' in err
    code, again, err = said('train', '--config', folder/'config.yaml')  # the file that it keeps
    assert code == 0 and again == out and 'is trained already with these settings' in err
    code, again, err = said('train', '--config', folder/'config.yaml', '--size', 24, '--dry-run', '--json')  # a flag wins
    assert code == 0 and json.loads(again)[0]['done'] is False, err
    for line, sentence in (('methods: baseline,feature_loss', 'makes one model: aebench run --config'),
                           ('epochs: 5 5', 'phases of 5 and 5 epochs'), ('protocol: report', 'another protocol than tuned'),
                           ('schedule: 1:8,1:12,1:16', 'names a schedule'), ('feature-input: imagenet', 'another feature-input than')):
        Path('other.yaml').write_text(f'data: digits\n{line}\n')
        code, _, err = said('train', '--config', 'other.yaml')
        assert code == 2 and sentence in err, err
    Path('other.yaml').write_text(config_of(Run('feature_loss', str(photos), size=16, epochs=(1, 2))))  # of a run
    code, again, err = said('train', '--config', 'other.yaml', '--dry-run', '--json')
    assert code == 0 and json.loads(again)[0]['method'] == 'feature_loss', err
    for words in (['compress', photos, '--out', 'a.ae'], ['encode', photos, '--out', 'a.csv'],
                  ['anomaly', photos, '--out', 'b.csv'], ['reconstruct', photos, '--out', 'copies'],
                  ['export', '--to', 'torch', '--out', 'a.pt2'], ['export', '--to', 'folder', '--out', 'shared'],
                  ['decompress', 'a.ae', '--out', 'back'], ['decode', 'a.csv', '--out', 'decoded']):
        code, _, err = said(*words, '--run', folder, '--device', 'cpu')
        assert code == 0, (words, err)
        assert ((words[0] in ('compress', 'reconstruct')) == ('was trained on 48 of these images' in err)
                and (words[0] in ('reconstruct', 'decompress')) == ('--original-size restores' in err)), (words, err)
    assert len([*Path('back').iterdir()]) == len([*Path('decoded').iterdir()]) == 60
    shared, ae = load('shared', 'cpu'), load(folder, 'cpu')
    assert shared.nested and np.array_equal(shared.reconstruct(photos, 7), ae.reconstruct(photos, 7))

def test_json_and_other_methods(said, tmp_path):
    code, out, err = said('train', 'digits', '--method', 'baseline', '--latent', 8, '--epochs', 1, '--out', tmp_path,
                          '--json', '--quiet', '--device', 'cpu')
    row = json.loads(out)
    assert (code == 0 and err == '' and (row['method'], row['latent'], row['settings']['epochs']) == ('baseline', 8, [0, 1])
            and 'lengths' not in row)
    assert 0 < row['pca_mse'] < row['mse'] and load(row['folder'], 'cpu').latent == 8
    code, out, _ = said('train', 'digits', '--method', 'baseline', '--latent', 8, '--epochs', 1, '--out', tmp_path, '--device', 'cpu')
    assert code == 0 and 'times the error of PCA-8, which has' in out and 'Any first numbers' not in out
    # the same run by the other command
    code, out, _ = said('run', '-q', '--json', *row['command'].split()[2:], '--judges', '', '--out', tmp_path, '--device', 'cpu')
    assert code == 0 and json.loads(out)[0]['run'] == row['run']

@pytest.mark.parametrize('words, sentence', [
    (['train'], 'There is nothing to train on'), (['train', 'nowhere'], 'There is no'),
    (['train', 'digits', '--method', 'pca-64'], 'aebench run --methods pca-64 fits it'),
    (['train', 'digits', '--method', 'moden'], 'Did you mean modern?'),
    (['train', 'digits', '--method', 'modern,nested'], 'method'),
    (['train', 'digits', '--method', 'modern+residual_blocks'], 'both change the encoder'),
    (['train', 'digits', '--epochs', '0'], '--epochs takes 1 or more'),
    (['train', 'digits', '--epochs', '2', '3'], '3'), (['train', 'digits', '--epochs', 'many'], '--epochs takes a whole number'),
    (['train', 'digits', '--latent', '0'], '--latent must be 1'),
    (['train', 'digits', '--latent', '8,16'], '--latent takes a whole number'),
    (['train', 'digits', '--batch-size', '1'], '--batch-size must be 2'),
    (['train', 'digits', '--size', '18'], 'give --size 16 or 20'),
    (['train', 'digits', '--methods', 'modern'], 'There is no flag --methods'),
    (['train', 'digits', '--seeds', '3'], 'There is no flag --seeds'),
    (['train', 'digits', '--judges', 'nobody'], 'nobody'), (['train', 'digits', '--precision', 'fp8'], 'fp8'),
    (['train', 'digits', '--split', '.5'], 'has a split of its own')])
def test_wrong_use_is_told(words, sentence, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = said(*words)
    assert code == 2 and sentence in err and out == '' and 'Traceback' not in err and not [*tmp_path.iterdir()], err

@pytest.mark.parametrize('n, batch, epochs', [(1, 32, 100), (40, 32, 100), (160, 32, 80), (1000, 32, 15), (1700, 32, 15),
                                              (2000, 64, 15), (3000, 64, 15), (6000, 128, 15), (60_000, 128, 15)])
def test_small_data_get_enough_steps(n, batch, epochs):
    assert (batch_for(n, 128), epochs_for(n, batch_for(n, 128))) == (batch, epochs)
    assert epochs == 100 or epochs*(n//batch) >= 400

@pytest.mark.parametrize('size, channels, latent', [(8, 1, 32), (8, 3, 96), (12, 1, 72), (16, 1, 128), (16, 3, 128), (32, 3, 128)])
def test_the_latent_is_half_of_what_an_image_holds(size, channels, latent, tmp_path):
    images = torch.randint(0, 256, (8, channels, size, size), dtype=torch.uint8)
    made = ImageSet(str(tmp_path), 'Noise', images, torch.zeros(8), images, torch.zeros(8), (), 'x')
    assert plan_training('modern', made, size=size).latent == latent
    assert plan_training('modern', made, size=size, latent=5).latent == 5

# ---- never worse than principal components

FINE = 1/255**2/12 # The rounding of 8-bit pixels, as an error

def gaussian(seed:int, n:int, size:int=8, channels:int=1) -> ImageSet:
    "Noise whose covariance is random: no map to k numbers keeps more of it than principal components do."
    gen = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels*size**2, channels*size**2, generator=gen)/size/channels**.5*torch.logspace(0, -1.5, channels*size**2)
    def images(n):
        return ((.5 + .15*torch.randn(n, len(mixing), generator=gen) @ mixing.T).mul(255).round().clamp(0, 255)
                .to(torch.uint8).view(n, channels, size, size))
    return ImageSet('noise', f'Gaussian {seed}', images(n), torch.zeros(n, dtype=torch.int16),
                    images(1000), torch.zeros(1000, dtype=torch.int16), (), f'gaussian-{seed}-{n}-{size}-{channels}')

def mse_of(model, images, numbers=None) -> float:
    with torch.no_grad(): return float((model.decode(model.encode(images.float()/255, numbers)) - images/255).square().mean())

@pytest.mark.parametrize('method', ['modern', 'modern+nested', 'linear_path', 'linear_path+residual_blocks'])
@pytest.mark.parametrize('latent', [8, 32])
def test_training_starts_where_components_end(method, latent, data):
    for size in (8, 16):
        images = data if size == 16 else load_images('digits', 8)
        model, components = make_model(Run(method, 'digits', size=size, latent=latent), images).eval(), principal_components(images)
        assert (abs(mse_of(model, images.test_x) - components.errors_on(images.test_x, [latent])[0])
                < 1e-5*components.errors_on(images.test_x, [latent])[0] + 1e-9)
        if model.nested:
            for k in (1, 4, latent//2): assert abs(mse_of(model, images.test_x, k) - components.errors_on(images.test_x, [k])[0]) < 1e-6

@pytest.mark.parametrize('seed, n, channels, method', [(0, 500, 1, 'modern'), (2, 500, 3, 'modern'), (3, 1000, 1, 'modern+nested')])
def test_noise_is_copied_no_worse_than_by_components(seed, n, channels, method):
    images = gaussian(seed, n, channels=channels)
    run = Run(method, 'noise', size=8, latent=16, epochs=(1, 3), batch_size=50)
    learn, held = learner_for(run, images)
    with learn.no_bar(), learn.no_logging(): fit_run(learn, run)
    model, components = learn.model.eval(), principal_components(images)
    choose_all_gates(model, held, 'cpu')
    assert len(held.images) == held_out_mask(n).sum()
    for k in nested_lengths(16) if model.nested else [16]:
        assert mse_of(model, images.test_x, k) < components.errors_on(images.test_x, [k])[0] + FINE
    before = [mse_of(model, images.test_x, k) for k in (4, 16)[not model.nested:]]
    model.gates.fill_(1.)  # without the gate it would be worse
    assert mse_of(model, images.test_x) > components.errors_on(images.test_x, [16])[0] + FINE
    choose_all_gates(model, held, 'cpu')
    assert [mse_of(model, images.test_x, k) for k in (4, 16)[not model.nested:]] == before

def test_few_images_choose_gates_beside_components_that_have_not_seen_them(data):
    "Those of all images know the held-out ones so well that a network that helps seems to harm."
    few = replace(data, train_x=data.train_x[:200], train_y=data.train_y[:200], fingerprint='200 digits')
    learn, held = learner_for(run := Run('modern', 'digits', size=16, latent=24, epochs=(0, 15), batch_size=32), few)
    with learn.no_bar(), learn.no_logging(): fit_run(learn, run)
    model, components = learn.model.eval(), principal_components(few)
    choose_gates(model, batches_of(held.images, 'cpu'))
    believed = mse_of(model, data.test_x)
    choose_all_gates(model, held, 'cpu')
    assert mse_of(model, data.test_x) < .96*believed < components.errors_on(data.test_x, [24])[0]

@pytest.mark.parametrize('method', ['feature_loss+modern', 'rounded+feature_loss+modern'])
def test_another_loss_may_cost_some_error(method, data):
    "Each gate is the largest at which the error is within the limit, those of rounded latents too; the squared error's are of the least."
    few = replace(data, train_x=data.train_x[:100], train_y=data.train_y[:100], fingerprint='100 digits')
    learn, held = learner_for(Run(method, 'digits', size=16, latent=8, weights='random'), few)
    model = learn.model.eval()
    torch.nn.init.normal_(model.decoder.out.last.weight, std=.003)  # some harm
    assert held.dearer == DEARER
    def gates(dearer):
        choose_all_gates(model, replace(held, dearer=dearer), 'cpu')
        return [*model.gates.tolist(), *(model.step_gates.tolist() if model.rounded else ())]
    found = [gates(o) for o in (None, 1.0001, DEARER, 1e9)]
    assert all(np.less_equal(a, b).all() for a, b in zip(found, found[1:])) and found[0] != found[2] and set(found[-1]) == {1.}

@pytest.mark.parametrize('n', [1, 2])
def test_hardly_any_images(n, data):
    few = replace(data, train_x=data.train_x[:n], train_y=data.train_y[:n], fingerprint=f'{n} digits')
    learn, *_ = train_run(Run('modern', 'digits', size=16, latent=4, epochs=(0, 1), batch_size=4), few)
    assert mse_of(learn.model.eval(), data.test_x) < 1

def test_a_latent_longer_than_there_are_components(data):
    few = replace(data, train_x=data.train_x[:10], train_y=data.train_y[:10], fingerprint='ten digits')
    learn, *_ = train_run(Run('modern+nested', 'digits', size=16, latent=32, epochs=(0, 1), batch_size=4), few)
    for k in (1, 9, 10, 31, 32): assert mse_of(learn.model.eval(), data.test_x, k) < 1

# ---- a training that is interrupted

class StopAt(Callback):
    "A signal at the `n`th batch of training."
    order = 98
    def __init__(self, n): self.left = iter(range(n - 1))
    def after_batch(self):
        if self.training and next(self.left, None) is None: signal.raise_signal(signal.SIGTERM)

@pytest.mark.parametrize('method', ['averaged', 'modern', 'modern+nested+averaged'])
def test_an_interrupted_run_ends_with_the_same_files(method, data, tmp_path, monkeypatch):
    "Gates, averages and lengths included, bit for bit."
    monkeypatch.setattr(aebench.bench.run, 'Checkpoint', partial(Checkpoint, share=1.))  # these epochs are shorter than any
    few = replace(data, train_x=data.train_x[:200], train_y=data.train_y[:200], fingerprint='few')
    run, = plan_runs(method, 'digits', latent=16, epochs=(1, 2), batch_size=64)
    do_run(run, few, [], tmp_path/'whole')
    for n in (2, 3):
        with pytest.raises(Interrupted): do_run(run, few, [], tmp_path/'again', [StopAt(n)])
        assert (tmp_path/'again'/'checkpoint.safetensors').exists()
    do_run(run, few, [], tmp_path/'again')
    for name in ('model.safetensors', 'coder.safetensors', 'per_image.safetensors', *(['lengths.csv'] if 'nested' in method else [])):
        assert (tmp_path/'whole'/name).read_bytes() == (tmp_path/'again'/name).read_bytes(), name

# ---- used as all others

@pytest.mark.parametrize('name, to, part', [*(('nested', to, part) for to in FORMATS for part in PARTS),
                                            ('whole', 'onnx', 'whole'), ('linear', 'onnx', 'whole'), ('linear', 'torch', 'whole')])
def test_exported_is_equal(name, to, part, runs, data, tmp_path):
    ae, path, read = load(runs/name, 'cpu'), tmp_path/f'model{FORMATS[to][0]}', FORMATS[to][2]
    export_model(ae, path, to, part)
    for n in (1, 5):
        images = data.test_x[:n].float()/255
        latents, copies = ae.encode(images), ae.reconstruct(images)
        expected = dict(whole=[latents, copies], encoder=[latents], decoder=[copies])[part]
        for a, b in zip(read(path.read_bytes(), latents if part == 'decoder' else images), expected, strict=True):
            assert np.allclose(a, b.numpy(), 1e-4, 1e-5)

@pytest.mark.parametrize('name', ['whole', 'nested', 'linear'])
def test_shared_is_the_same(name, runs, data, tmp_path):
    ae = load(runs/name, 'cpu')
    model_folder(ae, tmp_path/'shared')
    got = pull(tmp_path/'shared', device='cpu')
    assert ((got.model, got.nested, type(got.codec)) == (ae.model, ae.nested, PathAutoEncoder)
            and torch.equal(got.codec.gates, ae.codec.gates))
    assert torch.equal(got.reconstruct(data.test_x), ae.reconstruct(data.test_x))
    if ae.nested: assert torch.equal(got.reconstruct(data.test_x, 5), ae.reconstruct(data.test_x, 5))

@pytest.mark.parametrize('name', ['whole', 'nested'])
def test_strange_images_are_flagged(name, runs, said, data, tmp_path):
    write_images(torch.cat([data.test_x[:30], 255 - data.test_x[30:33]]),
                 [f'{i}.png' for i in range(30)] + [f'strange{i}.png' for i in range(3)], tmp_path/'in')
    write_images(data.test_x[100:300], [f'{i}.png' for i in range(200)], tmp_path/'normal')
    code, _, err = said('anomaly', tmp_path/'in', '--run', runs/name, '--normal', tmp_path/'normal', '--out', tmp_path/'found.csv',
                        '--device', 'cpu')
    assert code == 0 and set(pd.read_csv(tmp_path/'found.csv').path[:3]) == {f'strange{i}.png' for i in range(3)}, err

@pytest.mark.parametrize('full, linear_path, encoder, ways', [
    (32, True, 'residual', ['resized']), (64, False, 'residual', ['resized']), (128, True, 'residual', ['resized']),
    (16, True, 'conv', ['resized']), (16, False, 'conv', ['resized', 'pooled'])])
def test_other_sizes(full, linear_path, encoder, ways, tmp_path):
    write_images(load_images('digits').test_x[:40], [f'{i}.png' for i in range(40)], tmp_path)
    model = build_network(encoder, latent=8, size=full, channels=1, linear_path=linear_path)
    found = at_sizes(model, full, str(tmp_path), [8, 20, 24, 48])
    assert (ways_for(model) == ways and [(o['size'], o['way']) for o in found] == [(s, w) for s in (8, 20, 24, 48) for w in ways]
            and all(0 < o['mse'] < 1 for o in found))

# ---- the seventh row

SIX = [m.name for m in METHODS.values() if m.in_paper]

@pytest.mark.parametrize('words, wanted', [
    ([], ['pca-32', *SIX, 'modern']), (['--data', 'digits', '--epochs', '1', '1'], ['pca-32', *SIX, 'modern']),
    (['--methods', 'all'], SIX), (['--protocol', 'report'], ['pca-32', *SIX]), (['--data', 'mnist'], ['pca-784', *SIX, 'modern']),
    (['--data', '.', '--latent', '16'], ['pca-16', *SIX, 'modern']), (['--design', 'half', '--yes'], None),
    (['--methods', 'modern'], ['modern']), (['--methods', 'all,nested'], [*SIX, 'nested'])])
def test_modern_and_components_stand_beside_the_six(words, wanted, said, tmp_path, monkeypatch):
    planned = []
    def plan(cells, *more, **settings):
        planned.append([o.method for o in plan_runs(cells, *more, **settings)])
        raise UsageError('planned')
    monkeypatch.setattr(aebench.cli, 'plan_runs', plan)
    assert said('run', '--out', tmp_path, *words)[0] == 2
    if wanted: assert planned == [wanted]
    else: assert len(planned[0]) == 8 and not any('modern' in o for o in planned[0])

"Networks that start from principal components: never worse, any first numbers make an image, and they are used as all others."
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aebench import load
from aebench.apply import Trained
from aebench.bench.run import do_run
from aebench.codec.protocol import FirstNumbers, first_numbers
from aebench.core.errors import UsageError
from aebench.data import load_images
from aebench.models import autoencoder
from aebench.settings import plan_runs

pytestmark = pytest.mark.usefixtures('at_home')

@pytest.fixture(scope='module')
def data(at_home): return load_images('digits')

MADE = {'nested': 'modern+nested', 'whole': 'modern', 'components': 'pca-16', 'plain': 'nested'} # Methods, of which all but one have a latent whose first numbers make an image

@pytest.fixture(scope='module')
def runs(data, tmp_path_factory):
    "The folders of short trainings, with a latent of 16 numbers."
    few, out = replace(data, train_x=data.train_x[:200], train_y=data.train_y[:200], fingerprint='few'), tmp_path_factory.mktemp('modern')
    for name, method in MADE.items(): do_run(plan_runs(method, 'digits', latent=16, epochs=(1, 1), batch_size=64)[0], few, [], out/name)
    return out

# ---- any first numbers

@pytest.mark.parametrize('name', ['nested', 'components', 'plain'])
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
    with pytest.raises(UsageError, match='which only make an image together, and 8 were asked for: give all 16'): ae.encode(data.test_x[:3], 8)
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

"The patches of scikit-learn's two photographs, and copies of a whole photograph."
import socket

import pytest
import torch

from aebench.core.errors import UsageError
from aebench.data import load_images
from aebench.data.sets import PHOTOGRAPHS, STRIP, cut_patches, photo_patches, photograph

def touched(patches): # Of an image whose pixels are their own places
    "A map of the pixels that are in any of the patches."
    found = torch.zeros(427*640, dtype=torch.bool)
    found[patches.flatten()] = True
    return found

@pytest.mark.parametrize('size', [8, 20, 32, 44, 64, 128])
@pytest.mark.parametrize('first', PHOTOGRAPHS.values())
def test_no_pixel_is_trained_on_and_tested(first, size):
    "Known by its place in patches of full size; at half size nothing of a white strip is in any of them."
    places = torch.arange(427*640).view(1, 427, 640)
    marked = torch.zeros(1, 427, 640, dtype=torch.uint8)
    marked[..., first:first+STRIP] = 255
    beside = [cut_patches(o, size, 8) for o in (places[..., :first], places[..., first+STRIP:])]
    trained, tested = touched(torch.cat(beside)), touched(cut_patches(places[..., first:first+STRIP], size, size))
    assert trained.any() and tested.any() and not (trained & tested).any()
    train, test = photo_patches(marked, first, size)
    assert len(train) > sum(map(len, beside)) and train.max() == 0 and test.min() == 255
    assert test[0].numel()*len(test) == tested.sum()  # test patches don't overlap one another

def test_loads_without_a_network(monkeypatch, tmp_path):
    "Into an empty cache, twice, to the same images; the cache is read the third time."
    def refuses(*args, **kwargs): raise AssertionError('something was to be downloaded')
    for name in ('connect', 'connect_ex'): monkeypatch.setattr(socket.socket, name, refuses)
    found = []
    for home in 'aab':
        monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/home))
        found.append(load_images('photos'))
    assert len({o.fingerprint for o in found}) == 1 and len(list((tmp_path/'a'/'images').iterdir())) == 1
    assert all(torch.equal(found[0].test_x, o.test_x) for o in found[1:])

@pytest.mark.parametrize(('size', 'channels', 'n'), [(8, None, 2120), (16, 1, 520), (32, 3, 130), (48, None, 48), (64, 1, 24), (192, None, 4)])
def test_every_size_has_both_classes(at_home, size, channels, n):
    data = load_images('photos', size, channels=channels)
    assert data.test_x.shape == (n, channels or 3, size, size) and len(data.train_x) > 1000
    assert data.train_y.unique().tolist() == data.test_y.unique().tolist() == [0, 1] and data.test_x.float().std() > 30

def test_test_patches_are_the_strip(at_home):
    "Beside and below each other they are the photograph again."
    first, rows = PHOTOGRAPHS['flower'], 427//32
    patches = load_images('photos').test_x[65:].view(rows, STRIP//32, 3, 32, 32)
    strip = patches.permute(2, 0, 3, 1, 4).reshape(3, rows*32, STRIP)
    assert torch.equal(strip, photograph('flower')[:, :rows*32, first:first+STRIP])

def test_channels_that_photographs_have_not(at_home):
    with pytest.raises(UsageError, match='give --channels 1 or 3'): load_images('photos', channels=4)

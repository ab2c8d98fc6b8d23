import sys
import warnings

__version__ = "0.1.0"

if not sys.warnoptions:  # fastai scripts two functions as it is imported, of which no user can make anything
    warnings.filterwarnings('ignore', r'`torch\.jit\.script` is ', FutureWarning)

_PLACES = dict(
    compare='comparison', load='apply.trained', load_images='data.sets', autoencoder='models', autoencoder_learner='bench.learner')

def __getattr__(name):
    "What users want first, fetched when it is asked for: it brings torch."
    if name not in _PLACES: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    return getattr(import_module(f'{__name__}.{_PLACES[name]}'), name)

def __dir__(): return sorted({*globals(), *_PLACES})

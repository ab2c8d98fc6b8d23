__version__ = "0.1.0"

_PLACES = dict(
    compare='comparison', load='apply.trained', load_images='data.sets', autoencoder='models', autoencoder_learner='bench.learner')

def __getattr__(name):
    "What users want first, fetched when it is asked for: it brings torch."
    if name not in _PLACES: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    return getattr(import_module(f'{__name__}.{_PLACES[name]}'), name)

def __dir__(): return sorted({*globals(), *_PLACES})

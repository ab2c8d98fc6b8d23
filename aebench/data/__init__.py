"Images, from a path to batches: `from aebench.data import load_images`."

def __getattr__(name):
    "Import `load_images` and `ImageSet` when they are first used: they bring torch."
    if name not in ('load_images', 'ImageSet'): raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import sets
    return getattr(sets, name)

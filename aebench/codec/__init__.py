"Whatever turns images into codes and back: `from aebench.codec import Codec`."

def __getattr__(name):
    "The protocol, fetched when it is asked for: it brings torch."
    if name not in ('Codec', 'bytes_per_image'): raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import protocol
    return getattr(protocol, name)

"""How hard the property tests search: `--hypothesis-profile=deep` for a long look."""

from hypothesis import settings

# The machine's speed is not what is tested.
settings.register_profile("default", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile("default")

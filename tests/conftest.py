"""What every test needs: no network, and the memory it once had."""

import os

from medvlp.memory import keep_freed_memory

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
keep_freed_memory()

"""The rows of CLIP models in the table of public sets, for a machine that reaches a model hub.

    python benchmarks/clip_hub.py DATA [--model MODEL/TAG or CHECKPOINT FOLDER]... [--out FILE]

Downloads the models once (600 MB each), and measures them beside `offline` on the same sets in the same run;
DATA and the output are those of public_sets.py.
"""

from __future__ import annotations

import public_sets

MODELS = ("offline", "ViT-B-32-256/datacomp_s34b_b86k", "ViT-B-32/laion2b_s34b_b79k", "ViT-B-32-quickgelu/openai")

if __name__ == "__main__":
    public_sets.main(MODELS, doc=__doc__)

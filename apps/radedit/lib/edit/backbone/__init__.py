"""Diffusers-layout checkpoints: found, checked, loaded and called.

Beside the training in `radedit.lib.phantom`, the one place that imports diffusers and
transformers, and the only one that imports tokenizers and huggingface_hub; all four only when
a checkpoint is loaded.

    files    where each file lies (folder or Hub cache) and whether its hash is right
    modules  networks built from a configuration and safetensors weights, no remote code
    text     tokenizer and text encoder (BERT, CLIP)
    noise    alpha_bar from scheduler_config.json
    model    Backbone and load_backbone
    pin      prints the sha256 table of a folder for models.toml
"""

from radedit.lib.edit.backbone.model import Backbone, load_backbone, load_prompts
from radedit.lib.edit.backbone.text import PromptTokenizer

__all__ = ["Backbone", "PromptTokenizer", "load_backbone", "load_prompts"]

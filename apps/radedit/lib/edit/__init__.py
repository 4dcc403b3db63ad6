"""Diffusion edits of latents: pure functions on tensors, and the backbone they run on.

The symbols are those of RadEdit (arXiv 2312.12865). Nothing here knows DICOM or a server;
only `backbone` imports diffusers, transformers or huggingface_hub.
"""

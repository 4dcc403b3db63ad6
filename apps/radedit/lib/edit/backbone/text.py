"""Tokenizer and text encoder of a checkpoint: BERT (BioViL-T) or CLIP (Stable Diffusion).

Prompts are padded to the encoder's full length and no attention mask is passed: the padding
is attended to, because that is how the released models were trained and are called. A model
that was trained otherwise says `mask_padding = true` in the registry.

BioViL-T's configuration names remote code (`auto_map`, CXRBertModel). It is not needed and
never run: the hidden states are those of a plain BERT whose keys carry the prefix `bert.`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from radedit.lib.edit.backbone.modules import assemble, read_json, read_weights
from radedit.lib.errors import CheckpointError, PromptError

_BERTS: Final = ("bert", "cxr-bert")
_NOT_CONFIG: Final = ("auto_map", "architectures", "model_type", "torch_dtype", "dtype")
_UNKNOWN: Final = "[UNK]"  # BERT's; CLIP spells every text in bytes
_UNUSED: Final = ("position_ids", "token_type_ids")


@dataclass(frozen=True, eq=False)
class PromptTokenizer:
    """What a text encoder takes in, without the encoder.

    Attributes
    ----------
    tokenizer : tokenizers.Tokenizer
        Without padding or truncation of its own.
    pad_id : int
        Token that fills the rest.
    max_tokens : int
        Length of every encoded prompt, special tokens included.
    knows : tuple of str
        Findings and devices the model was trained for, where that is a short list.
    """

    tokenizer: Any
    pad_id: int
    max_tokens: int
    knows: tuple[str, ...] = field(default=(), kw_only=True)

    def check_prompt(self, text: str, what: str = "prompt") -> None:
        """Refuse a prompt that is empty, too long, or holds a word the encoder never saw.

        Parameters
        ----------
        text : str
            The prompt.
        what : str
            What a refusal calls it.

        Raises
        ------
        PromptError
            Names the part that would be cut, or the unknown words.
        """
        encoding = self.tokenizer.encode(text)
        content = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
        if not content:
            raise PromptError(f"The {what} is empty; say in words what the region shall show.")
        unknown = [
            text[start:end]
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
            if token == _UNKNOWN
        ]
        if unknown:
            trained = f", which was trained for {', '.join(self.knows)}," if self.knows else ""
            raise PromptError(
                f"The {what} holds what the model's text encoder{trained} does not know: "
                f"{', '.join(dict.fromkeys(unknown))}; say it in other words, or choose a model "
                "that was trained on more."
            )
        room = self.max_tokens - (len(encoding.ids) - len(content))
        if len(content) > room:
            cut = text[encoding.offsets[content[room]][0] :]
            raise PromptError(
                f"The {what} is {len(content)} tokens long and the text encoder takes {room}; "
                f"shorten it, since this would be lost: '{cut.strip()}'."
            )

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Return the padded token ids, long [N, max_tokens]; empty texts are allowed."""
        rows = []
        for text in texts:
            if text.strip():
                self.check_prompt(text)
            ids = self.tokenizer.encode(text).ids
            rows.append(ids + [self.pad_id] * (self.max_tokens - len(ids)))
        return torch.tensor(rows, dtype=torch.long).reshape(len(texts), self.max_tokens)


@dataclass(frozen=True, eq=False)
class TextEncoder(PromptTokenizer):
    """Prompts to conditioning.

    Attributes
    ----------
    network : torch module
        BertModel or CLIPTextModel.
    mask_padding : bool
        True: the encoder attends to the prompt's own tokens only.
    """

    network: nn.Module = field(kw_only=True)
    mask_padding: bool = field(default=False, kw_only=True)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode prompts.

        Returns
        -------
        float [N, max_tokens, D]
            Last hidden state.

        Raises
        ------
        PromptError
            A text is too long; nothing is cut silently.
        """
        device = next(self.network.parameters()).device
        ids = self.token_ids(texts)
        mask = self._own_tokens(texts, ids).to(device) if self.mask_padding else None
        output = self.network(input_ids=ids.to(device), attention_mask=mask)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _own_tokens(self, texts: Sequence[str], ids: Tensor) -> Tensor:
        """Mark what is no padding, long [N, max_tokens]; CLIP's padding is its end token too."""
        lengths = torch.tensor([len(self.tokenizer.encode(text).ids) for text in texts])
        return (torch.arange(ids.shape[1]) < lengths[:, None]).long()

    @torch.inference_mode()
    def first_state(self, text: str) -> Tensor:
        """Encode a sentence as BioViL-T does for its joint space: no padding is attended to.

        Returns
        -------
        float [1, D]
            Last hidden state of the first token.

        Raises
        ------
        PromptError
            As `check_prompt`.
        """
        self.check_prompt(text, "text to score")
        device = next(self.network.parameters()).device
        ids = torch.tensor([self.tokenizer.encode(text).ids], device=device)
        hidden: Tensor = self.network(input_ids=ids).last_hidden_state
        return hidden[:, 0]


def load_text_encoder(
    tokenizer_files: Mapping[str, Path],
    encoder_files: Mapping[str, Path],
    max_tokens: int | None,
    model: str,
) -> TextEncoder:
    """Load tokenizer and encoder, in float32.

    Raises
    ------
    CheckpointError
        The encoder is neither BERT nor CLIP, or its files do not fit.
    """
    config = read_json(encoder_files["config.json"], model)
    is_clip = "CLIPTextModel" in (config.get("architectures") or ())
    tokens = load_prompt_tokenizer(tokenizer_files, config, max_tokens, model)
    path = next(path for name, path in encoder_files.items() if name.endswith(".safetensors"))
    weights = read_weights(path, torch.float32, model)
    network = _clip(config, weights, model) if is_clip else _bert(config, weights, model)
    return TextEncoder(tokens.tokenizer, tokens.pad_id, tokens.max_tokens, network=network)


def load_prompt_tokenizer(
    files: Mapping[str, Path], config: Mapping[str, Any], max_tokens: int | None, model: str
) -> PromptTokenizer:
    """Load a tokenizer for the text encoder that `config` describes, whose weights are not read.

    Raises
    ------
    CheckpointError
        The encoder is neither BERT nor CLIP, or the files do not fit it.
    """
    is_clip = "CLIPTextModel" in (config.get("architectures") or ())
    if not is_clip and config.get("model_type") not in _BERTS:
        raise CheckpointError(
            f"Model '{model}': its text encoder is a {config.get('model_type')} "
            f"{config.get('architectures')}; expected BERT or CLIPTextModel."
        )
    options = _tokenizer_options(files, model)
    tokenizer = _tokenizer(files, options, is_clip, model)
    pad = _content(options.get("pad_token")) or ("<|endoftext|>" if is_clip else "[PAD]")
    pad_id = tokenizer.token_to_id(pad)
    if pad_id is None:
        raise CheckpointError(f"Model '{model}': its vocabulary lacks the padding token {pad}.")
    positions = int(config["max_position_embeddings"])
    limit = min(positions, int(options.get("model_max_length") or positions))
    if max_tokens is not None and max_tokens > positions:
        raise CheckpointError(
            f"Model '{model}': max_tokens is {max_tokens}, its text encoder takes {positions}."
        )
    return PromptTokenizer(tokenizer, int(pad_id), max_tokens or limit)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _NOT_CONFIG}


def _bert(config: Mapping[str, Any], weights: Mapping[str, Tensor], model: str) -> nn.Module:
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    if config.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(
            f"Model '{model}': its BERT has {config['position_embedding_type']} positions; "
            "expected absolute."
        )
    kept = {
        key.removeprefix("bert."): value
        for key, value in weights.items()
        if not key.startswith(("cls.", "cls_projection_head.", "pooler.", "bert.pooler."))
        and not key.endswith(_UNUSED)
    }
    fields = BertConfig(**_plain(config))
    what = f"Model '{model}', text encoder"
    return assemble(lambda: BertModel(fields, add_pooling_layer=False), kept, what)


def _clip(config: Mapping[str, Any], weights: Mapping[str, Tensor], model: str) -> nn.Module:
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    fields = CLIPTextConfig(**_plain(config))
    kept = {
        key.removeprefix("text_model."): value
        for key, value in weights.items()
        if not key.endswith(_UNUSED)
    }
    return assemble(lambda: CLIPTextModel(fields), kept, f"Model '{model}', text encoder")


def _tokenizer_options(files: Mapping[str, Path], model: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if name in files:
            options.update(read_json(files[name], model))
    return options


def _tokenizer(
    files: Mapping[str, Path], options: Mapping[str, Any], is_clip: bool, model: str
) -> Any:
    """Build the fast tokenizer from its data files; no class is looked up by name."""
    from tokenizers import Tokenizer

    if "tokenizer.json" in files:
        tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer
    if is_clip:
        from transformers.models.clip.tokenization_clip import CLIPTokenizer

        if not {"vocab.json", "merges.txt"} <= files.keys():
            raise CheckpointError(
                f"Model '{model}': its CLIP tokenizer needs vocab.json and merges.txt."
            )
        lines = _lines(files["merges.txt"])
        merges: Any = [tuple(x.split()) for x in lines if x and not x.startswith("#version")]
        pad = _content(options.get("pad_token")) or "<|endoftext|>"
        vocabulary = read_json(files["vocab.json"], model)
        return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad).backend_tokenizer
    from transformers.models.bert.tokenization_bert import BertTokenizerFast

    if "vocab.txt" not in files:
        raise CheckpointError(f"Model '{model}': its BERT tokenizer needs vocab.txt.")
    names = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    flags = {name: options[name] for name in names if name in options}
    vocabulary = {token: index for index, token in enumerate(_lines(files["vocab.txt"]))}
    return BertTokenizerFast(vocab=vocabulary, **flags).backend_tokenizer


def _content(token: Any) -> str | None:
    """Read a special token, given as text or as {"content": text}."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _lines(path: Path) -> list[str]:
    """Split at line feeds only: a vocabulary may hold other characters that end lines."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")

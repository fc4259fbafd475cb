"""Shared helpers of the golden-file scripts: tiny BERTs, multi-task heads, the double-precision truth.

Every expected value in this folder is computed here by torch and transformers, never by graft. Weights are
rounded to the precision of the file that holds them and read back from that file; the arithmetic is float64, so
that whatever separates graft from these files is graft's own float32 rounding.

Letters: B sequences, S padded length, T real tokens of the batch, H hidden size, C classes of a task.
"""
import json
import os
import shutil
from pathlib import Path

os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

ROOT = Path(__file__).resolve().parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)


# ---- files -------------------------------------------------------------------------------------------------

def fresh_dir(path):
    """Empties the folder, so that a file this script no longer writes cannot linger."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def write_text(path, text):
    path.write_text(text, encoding="utf-8", newline="\n")


def to_json(value, indent=""):
    """JSON that indents what nests and keeps a flat list or object on one line."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(isinstance(part, (dict, list)) for part in parts):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    keys = [json.dumps(k) + ": " for k in value] if isinstance(value, dict) else [""] * len(parts)
    lines = ",\n".join(inner + key + to_json(part, inner) for key, part in zip(keys, parts))
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n{lines}\n{indent}{right}"


def write_json(path, value):
    write_text(path, to_json(value) + "\n")


def write_tensors(path, tensors, dtype=None):
    """Writes a safetensors file; a dtype of None keeps each tensor's own."""
    own = {name: t.detach().to(dtype or t.dtype).clone().contiguous() for name, t in tensors.items()}
    save_file(own, str(path), metadata={"format": "pt"})


def write_expected(path, tensors):
    """Writes the truth: F64, a scalar as a tensor of shape [1]."""
    write_tensors(path, {n: t.reshape(1) if t.dim() == 0 else t for n, t in tensors.items()}, torch.float64)


def write_vocab(folder, words, lower_case):
    assert len(set(words)) == len(words)
    write_text(folder / "vocab.txt", "".join(w + "\n" for w in SPECIAL + words))
    write_json(folder / "tokenizer_config.json",
               {"tokenizer_class": "BertTokenizer", "do_lower_case": lower_case, "model_max_length": 32,
                "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
                "mask_token": "[MASK]"})


# ---- models ------------------------------------------------------------------------------------------------

def make_config(words, **sizes):
    return BertConfig(vocab_size=len(SPECIAL) + len(words), max_position_embeddings=32, type_vocab_size=2,
                      pad_token_id=PAD, **sizes)


def fill_random(model, generator, embedding_std=0.3):
    """Weights under which every part matters: attention that is not flat, biases and LayerNorm away from 0 and 1.

    BERT's own initialisation (0.02, zero, one) would hide a forgotten bias or a swapped query and key.
    """
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if "LayerNorm.weight" in name:
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.1 * noise
            elif "embeddings" in name:
                value = embedding_std * noise
            else:
                gain = 1.5 if "query" in name or "key" in name else 1.0
                value = gain * noise / p.shape[1] ** 0.5
            p.copy_(value)
    return model


def random_bert(config, seed, embedding_std=0.3):
    return fill_random(BertModel(config), torch.Generator().manual_seed(seed), embedding_std)


def random_heads(tasks, hidden_size, seed):
    """{"heads.<task>.weight": [C, H], "heads.<task>.bias": [C]} as float32."""
    generator = torch.Generator().manual_seed(seed)
    heads = {}
    for task in tasks:
        n = len(task["classes"])
        heads[f"heads.{task['name']}.weight"] = 0.5 * torch.randn(n, hidden_size, generator=generator)
        heads[f"heads.{task['name']}.bias"] = 0.1 * torch.randn(n, generator=generator)
    return heads


def load_bert(folder, dtype=torch.float64):
    """The model as the files on disk say, in eval mode (no dropout), plain (eager) attention."""
    model, info = BertModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager",
                                            output_loading_info=True)
    assert not [k for k in info["missing_keys"] if not k.startswith("pooler.")], info
    return model.eval()


def load_heads(path, dtype=torch.float64):
    return {n: t.to(dtype).requires_grad_() for n, t in sorted(load_file(str(path)).items())}


def encoder_parameters(model):
    """graft's parameters: BertModel's names, in its order, without the pooler, which graft does not use."""
    return {n: p for n, p in model.named_parameters() if not n.startswith("pooler.")}


# ---- forward pass ------------------------------------------------------------------------------------------

def pad_batch(sequences):
    """Lists of ids -> ids [B, S] and attention mask [B, S]."""
    longest = max(map(len, sequences))
    ids = torch.tensor([s + [PAD] * (longest - len(s)) for s in sequences])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
    return ids, mask


def encode(model, sequences):
    """-> hidden states [B, S, H] and the mask [B, S]."""
    ids, mask = pad_batch(sequences)
    hidden = model(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids)).last_hidden_state
    return hidden, mask


def pool(hidden, mask, pooling):
    """[B, S, H] -> [B, H] over the real tokens, as sentence-transformers' Pooling does it."""
    real = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "mean":
        return (hidden * real).sum(1) / real.sum(1).clamp(min=1e-9)
    if pooling == "max":
        return hidden.masked_fill(real == 0, -torch.inf).max(1).values
    assert pooling == "cls", pooling
    return hidden[:, 0]


def normalise(pooled):
    return torch.nn.functional.normalize(pooled, p=2, dim=1, eps=1e-12)


def class_ids(labels, classes):
    """Label names -> class numbers; null becomes -100, which cross_entropy leaves out of the mean."""
    return torch.tensor([-100 if label is None else classes.index(label) for label in labels])


def task_logits(embedding, heads, tasks):
    return {t["name"]: embedding @ heads[f"heads.{t['name']}.weight"].T + heads[f"heads.{t['name']}.bias"]
            for t in tasks}


def task_losses(logits, tasks, labels):
    """Mean cross-entropy of each task over its present labels."""
    return {t["name"]: cross_entropy(logits[t["name"]], class_ids(labels[t["name"]], t["classes"]))
            for t in tasks}


def weighted_sum(losses, weights):
    return sum(weights[name] * loss for name, loss in losses.items())


def relative_difference(got, want):
    """Largest difference of a tensor, relative to its largest element."""
    got, want = got.detach().double(), want.detach().double()
    scale = want.abs().max().item()
    return (got - want).abs().max().item() / scale if scale > 0 else got.abs().max().item()

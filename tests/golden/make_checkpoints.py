"""Makes tests/data/checkpoints/: files of the Python packages for the readers in checkpoints/.

By hand: python tests/golden/make_checkpoints.py   (torch, transformers, safetensors,
sentence-transformers). Every element of a BERT parameter follows from its name and index, so that the
C tests know the values without graft: (fnv1a32(name) + 37 i) mod 256 / 128 - 1, exact in F32, F16 and BF16.
"""
import json
import os
import shutil

import numpy as np
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.base.modules import Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizerFast

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "checkpoints")
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] . , the a cheese was tasty shoes are red good bad ##s ##y".split()


def fnv1a32(name):
    h = 2166136261
    for b in name.encode():
        h = ((h ^ b) * 16777619) % 2**32
    return h


def values(name, shape):
    n = int(np.prod(shape))
    x = ((fnv1a32(name) + 37 * np.arange(n, dtype=np.int64)) % 256) / 128.0 - 1.0
    return torch.tensor(x, dtype=torch.float32).reshape(tuple(shape))


def tiny():
    config = BertConfig(vocab_size=24, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=16)
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({k: values(k, v.shape) for k, v in model.state_dict().items()})
    return model.eval()


def tokenizer():
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=t, model_max_length=12, do_lower_case=True)


def folder(name):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def plain():
    path = folder("plain")
    tiny().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def old():
    """As files of 2019 look: bert. prefix, gamma and beta, position_ids, further heads; half precision."""
    path = folder("old")
    tiny().config.save_pretrained(path)
    tokenizer().save_pretrained(path)
    tensors = {}
    for k, v in tiny().state_dict().items():
        name = "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[name] = v.to(torch.bfloat16 if "layer.1" in k else torch.float16)
    tensors["bert.embeddings.position_ids"] = torch.arange(16)[None]
    tensors["bert.pooler.dense.weight"] = torch.zeros(8, 8)
    tensors["cls.predictions.bias"] = torch.zeros(24)
    tensors["surprise.weight"] = torch.zeros(2)
    save_file(tensors, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})


def sentence(source):
    """The dialect that sentence-transformers of today writes: CLS pooling, not normalised."""
    path = folder("sentence")
    model = SentenceTransformer(modules=[Transformer(source), Pooling(8, pooling_mode="cls")], device="cpu")
    model.save_pretrained(path, create_model_card=False)


def files():
    names = ["heads.b.weight", "heads.a.weight", "heads.a.bias", 'quote " and \\', "snowman \u2603", "scalar"]
    shapes = [(2, 3), (3, 8), (3,), (1,), (2, 1, 2, 1), ()]
    save_file({n: values(n, s) for n, s in zip(names, shapes)}, os.path.join(HERE, "golden.safetensors"),
              metadata={"format": "pt"})
    path = os.path.join(HERE, "unpadded.safetensors")
    for k in range(1, 9):  # until the header needs no padding
        save_file({"x" * k: values("x" * k, (3,))}, path, metadata={"format": "pt"})
        if b"} " not in open(path, "rb").read():
            break
    save_file({
        "f16": torch.tensor([0.5, -2.0, 6e-8, 65504.0], dtype=torch.float16),
        "bf16": torch.tensor([0.5, -2.0, 1e-40, 3.3895313892515355e38], dtype=torch.bfloat16),
        "f64": torch.tensor([0.1, -1e300, 5e-324, float("inf"), 3.0], dtype=torch.float64),
        "i64": torch.arange(4), "bool": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4), "deep": torch.zeros(1, 2, 1, 2, 1), "scalar": torch.tensor(7.5),
    }, os.path.join(HERE, "types.safetensors"))


if __name__ == "__main__":
    torch.manual_seed(0)
    os.makedirs(HERE, exist_ok=True)
    files()
    source = plain()
    old()
    sentence(source)
    print(json.dumps(sorted(os.listdir(HERE))))

"""Writes tests/golden/{dense_tanh,dense_identity,classifier}: models with a projection after pooling.

The first two are folders that sentence-transformers wrote, with a Dense module, and the truth is what it computes
from them. The third is a BertForSequenceClassification, whose pooler and classifier are BERT's own.

Run by hand: python tests/golden/make_dense.py
"""
import json

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from transformers import BertForSequenceClassification

import common as c
import vocabulary

WORDS = vocabulary.UNCASED
SIZES = dict(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, hidden_act="gelu")
TASK = {"name": "mood", "classes": ["bad", "so so", "good"], "weight": 1.0}
CLASSES = ["refund", "praise", "question", "complaint"]  # not in the order of the alphabet
LENGTHS = [3, 17, 7, 2, 32, 9]
TEXTS = ["the cheese was tasty", "a broken shoe , not good !", "", "lovely bread in the lamp", "unknownword ."]

DENSE = {
    "dense_tanh": dict(seed=31, pooling="mean", out=7, bias=True, activation=torch.nn.Tanh(), normalize=True),
    "dense_identity": dict(seed=32, pooling="max", out=19, bias=False, activation=torch.nn.Identity(), normalize=False),
}


def random_inputs(seed, classes):
    generator = torch.Generator().manual_seed(seed)
    n_vocab = len(c.SPECIAL) + len(WORDS)

    def draw(low, high, n):
        return torch.randint(low, high, (n,), generator=generator).tolist()

    ids = [[c.CLS] + draw(c.MASK, n_vocab, n - 2) + [c.SEP] for n in LENGTHS]
    picks = draw(0, len(classes), len(ids))
    return ids, [None if row == 2 else classes[pick] for row, pick in enumerate(picks)]


def features(ids):
    padded, mask = c.pad_batch(ids)
    return {"input_ids": padded, "attention_mask": mask, "token_type_ids": torch.zeros_like(padded)}


def write_case(folder, pooling, normalize, task, ids, labels, **more):
    c.write_json(folder / "case.json", {"pooling": pooling, "normalize": normalize, "tasks": [task], "ids": ids,
                                        "labels": {task["name"]: labels}, **more})


def truth_of(task, ids, labels, hidden, embedding, logits, parameters):
    """The names of expected.safetensors, after a backward pass."""
    loss = c.task_losses({task["name"]: logits}, [task], {task["name"]: labels})[task["name"]]
    loss.backward()
    mask = c.pad_batch(ids)[1].bool()
    out = {"last_hidden_state": hidden[mask], "embedding": embedding, f"logits/{task['name']}": logits,
           f"loss/{task['name']}": loss, "loss": loss}
    out |= {f"grad/{name}": torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters.items()}
    return {name: t.detach().clone() for name, t in out.items()}


def write_sentence_model(folder, case):
    base = c.fresh_dir(folder / "base")
    c.write_vocab(base, WORDS, True)
    c.random_bert(c.make_config(WORDS, **SIZES), case["seed"]).save_pretrained(base)
    dense = Dense(SIZES["hidden_size"], case["out"], bias=case["bias"], activation_function=case["activation"])
    generator = torch.Generator().manual_seed(case["seed"] + 100)
    with torch.no_grad():
        for p in dense.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator))
    modules = [Transformer(str(base)), Pooling(SIZES["hidden_size"], pooling_mode=case["pooling"]), dense]
    model = SentenceTransformer(modules=modules + [Normalize()] * case["normalize"], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    for path in base.iterdir():
        path.unlink()
    base.rmdir()


def compute_dense(folder, dtype):
    case = json.loads((folder / "case.json").read_text())
    model = SentenceTransformer(str(folder / "model"), device="cpu").to(dtype).eval()
    heads = c.load_heads(folder / "heads.safetensors", dtype)
    model[0].auto_model.set_attn_implementation("eager")
    out = model(features(case["ids"]))
    task = case["tasks"][0]
    logits = c.task_logits(out["sentence_embedding"], heads, [task])[task["name"]]
    parameters = c.encoder_parameters(model[0].auto_model) | heads
    parameters |= {f"dense.{name.removeprefix('linear.')}": p for name, p in model[2].named_parameters()}
    truth = truth_of(task, case["ids"], case["labels"][task["name"]], out["token_embeddings"],
                     out["sentence_embedding"], logits, parameters)
    truth["texts"] = model.encode(case["texts"], convert_to_tensor=True)
    return truth


def make_dense(name, case):
    folder = c.fresh_dir(c.ROOT / name)
    write_sentence_model(folder, case)
    c.write_tensors(folder / "heads.safetensors", c.random_heads([TASK], case["out"], case["seed"] + 200))
    ids, labels = random_inputs(case["seed"] + 300, TASK["classes"])
    write_case(folder, case["pooling"], case["normalize"], TASK, ids, labels, texts=TEXTS)
    finish(folder, compute_dense)


def compute_classifier(folder, dtype):
    case = json.loads((folder / "case.json").read_text())
    model = BertForSequenceClassification.from_pretrained(folder / "model", dtype=dtype, attn_implementation="eager")
    model.eval()
    given = features(case["ids"])
    hidden = model.bert(**given).last_hidden_state
    embedding = model.bert.pooler(hidden)
    parameters = dict(model.bert.named_parameters())
    parameters |= {f"heads.classifier.{name}": p for name, p in model.classifier.named_parameters()}
    task = case["tasks"][0]
    logits = model(**given).logits
    assert torch.equal(logits, model.classifier(embedding))
    return truth_of(task, case["ids"], case["labels"]["classifier"], hidden, embedding, logits, parameters)


def make_classifier():
    folder = c.fresh_dir(c.ROOT / "classifier")
    (folder / "model").mkdir()
    config = c.make_config(WORDS, **SIZES, id2label=dict(enumerate(CLASSES)))
    model = BertForSequenceClassification(config)
    c.fill_random(model, torch.Generator().manual_seed(41)).float().save_pretrained(folder / "model")
    c.write_vocab(folder / "model", WORDS, True)
    ids, labels = random_inputs(342, CLASSES)
    write_case(folder, "pooler", False, {"name": "classifier", "classes": CLASSES, "weight": 1.0}, ids, labels)
    finish(folder, compute_classifier)


def finish(folder, compute):
    truth = compute(folder, torch.float64)
    c.write_expected(folder / "expected.safetensors", truth)
    single = compute(folder, torch.float32)
    worst, where = max((c.relative_difference(single[n], truth[n]), n) for n in truth
                       if not n.endswith("attention.self.key.bias"))
    print(f"{folder.name}: {len(truth)} tensors, loss {truth['loss'].item():.6f}, "
          f"torch's float32 is off by at most {worst:.1e} ({where})")


if __name__ == "__main__":
    for name, case in DENSE.items():
        make_dense(name, case)
    make_classifier()

"""Compares `graft embed` and `graft similarity` with transformers on real weights.

    python tests/golden/compare_minilm.py MODEL_DIR GRAFT_BINARY [--bert-base-uncased]

MODEL_DIR is a mean-pooled sentence encoder such as all-MiniLM-L6-v2. With --bert-base-uncased it is that model,
and the cosines published for it are checked too. Exit status 1 when anything differs by more than it may.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer

import common as c

MAX_LENGTH = 128
TOLERANCE = 1e-5

PAIRS = [  # and bert-base-uncased's cosine, mean pooling
    ("I thought the cheese was delicious", "The cheese was tasty", 0.8303),
    ("The cheese was tasty", "Luke, I am your father!", 0.4419),
    ("Luke, I am your father!", "We're gonna need a bigger boat!", 0.6015),
]

SENTENCES = [
    "I thought the cheese was delicious", "The cheese was tasty", "Luke, I am your father!",
    "We're gonna need a bigger boat!", "a", "?", "42", "Yes.", "ok ok ok ok ok ok", "THE BATTERY DIED IN TWO DAYS",
    "The shoes arrived on time and fit well.", "The shoes arrived late and do not fit.",
    "Works as described, no complaints.", "Does not work as described; I want my money back!",
    "Stale bread, mouldy cheese - never again.", "Fresh bread and a lovely cheese, thank you.",
    "This phone's camera is better than my old camera's.", "The charger gets hot (very hot) after 10 minutes.",
    "Bought it for £19.99, saw it elsewhere for €12,50.", "5 stars *****", "3/5, would maybe buy again...",
    "It's a so-so, run-of-the-mill, one-size-fits-all T-shirt.", "Size: 10.5 x 3.25 x 0.75 in",
    "https://example.com/item?id=123&ref=a_b", "user@example.com wrote: \"great!\"",
    "Crème brûlée à la carte, naïve façade", "Größe und Maß: übermäßig groß", "El niño comió piñas en São Tomé",
    "Он купил новый телефон вчера", "Το τηλέφωνο δεν δουλεύει", "İstanbul'da ILIK çay", "הטלפון לא עובד",
    "الهاتف لا يعمل", "手机坏了", "このチーズは美味しいです", "치즈가 맛있어요", "फोन काम नहीं कर रहा है",
    "Great product 👍👍🏽 😀", "tabs\tand  double   spaces", "zero\u200bwidth and soft\u00adhyphen",
    "full width ＡＢＣ １２３", "ligatures: ﬁnd, waﬄe", "combining: e\u0301 versus \u00e9",
    "supercalifragilisticexpialidocious antidisestablishmentarianism", "x" * 150, "[MASK] is a [UNK] token [SEP]",
    "not bad, not good, not anything", "The lamp is bright. The lamp is dear. The lamp is mine.",
    "Ordered two tables and four chairs; one chair had a broken leg, the seller sent a new one within a week.",
    "This sentence goes on and on, and it will not stop before the model's window is full. " * 12,
]
assert len(SENTENCES) == 50


def graft(binary, *arguments, text=None):
    done = subprocess.run([binary, *map(str, arguments)], input=text, capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        sys.exit(f"graft {arguments[0]} failed with {done.returncode}: {done.stderr}")
    return done.stdout


def reference_embeddings(folder):
    """[B, H], float32 as transformers' users compute it, each row of length 1."""
    ids = AutoTokenizer.from_pretrained(folder)(SENTENCES, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    with torch.inference_mode():
        return c.normalise(c.pool(*c.encode(c.load_bert(folder, torch.float32), ids), "mean"))


def graft_embeddings(binary, folder):
    out = graft(binary, "embed", "--model", folder, "--input", "-", "--format", "jsonl", "--max-length", MAX_LENGTH,
                text="".join(s + "\n" for s in SENTENCES))
    rows = torch.tensor([json.loads(line)["embedding"] for line in out.splitlines()])
    # A sentence-transformers folder says itself whether it normalises; of a bare BERT only directions are compared.
    return rows if (folder / "modules.json").exists() else c.normalise(rows)


def compare_embeddings(want, got):
    if want.shape != got.shape:
        sys.exit(f"graft embed gave {tuple(got.shape)} numbers for {tuple(want.shape)}")
    per_sentence = (want - got).abs().max(1).values
    worst = per_sentence.argmax().item()
    print(f"embeddings of {len(SENTENCES)} sentences: largest difference {per_sentence[worst]:.2e} "
          f"at {SENTENCES[worst][:60]!r}")
    if not per_sentence[worst] <= TOLERANCE:  # so that NaN fails
        return [f"embeddings differ by {per_sentence[worst]:.2e}"]
    return []


def compare_pair(binary, folder, reference, pair, published):
    a, b, cosine_of_bert = pair
    torch_cosine = (reference[SENTENCES.index(a)] @ reference[SENTENCES.index(b)]).item()
    graft_cosine = float(graft(binary, "similarity", "--model", folder, a, b))
    print(f"{graft_cosine:.4f} graft  {torch_cosine:.4f} transformers  {a!r} / {b!r}")
    failures = []
    if not abs(graft_cosine - torch_cosine) <= 0.5e-4 + TOLERANCE:
        failures.append(f"similarity {graft_cosine:.4f} is not {torch_cosine:.4f}")
    if published and f"{graft_cosine:.4f}" != f"{cosine_of_bert:.4f}":
        failures.append(f"similarity {graft_cosine:.4f} is not the published {cosine_of_bert:.4f}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("graft")
    parser.add_argument("--bert-base-uncased", action="store_true")
    options = parser.parse_args()
    reference = reference_embeddings(options.model)
    failures = compare_embeddings(reference, graft_embeddings(options.graft, options.model))
    for pair in PAIRS:
        failures += compare_pair(options.graft, options.model, reference, pair, options.bert_base_uncased)
    for failure in failures:
        print("FAIL: " + failure)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

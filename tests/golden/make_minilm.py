"""Makes minilm.json: what transformers computes with the real all-MiniLM-L6-v2.

    python tests/golden/make_minilm.py MODEL_DIR

texts: the sentences of compare_minilm.py, and those of tests/data/tokenizer/texts.jsonl. For each the
token ids at 128 tokens; for the first ones also the embedding (mean pooling, L2 norm, float64 arithmetic,
printed with 9 digits). pairs: cosines of the sentence pairs, 4 decimals.
"""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

import compare_minilm as c

HERE = Path(__file__).parent


def main():
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    lines = (HERE.parent / "data/tokenizer/texts.jsonl").read_text(encoding="utf-8").splitlines()
    more = [json.loads(line)["text"] for line in lines]
    rows = []
    for i, text in enumerate(c.SENTENCES + more):
        ids = tokenizer(text, truncation=True, max_length=128)["input_ids"]
        row = {"text": text, "ids": ids}
        if i < 24:
            with torch.inference_mode():
                h = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
            row["embedding"] = [float(f"{v:.9g}") for v in (h / h.norm()).tolist()]
        rows.append(json.dumps(row, ensure_ascii=True))
    vectors = [json.loads(r).get("embedding") for r in rows[:4]]
    pairs = [[a, b, round(sum(x * y for x, y in zip(vectors[a], vectors[b])), 4)]
             for a in range(4) for b in range(a + 1, 4)]
    text = '{"pairs": ' + json.dumps(pairs) + ',\n"rows": [\n' + ",\n".join(rows) + "\n]}\n"
    (HERE / "minilm.json").write_text(text, encoding="utf-8")


main()

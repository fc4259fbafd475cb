#!/usr/bin/env python3
"""Writes tests/data/tokenizer/: what the fast BERT tokenizer of Hugging Face does.

    pip install tokenizers transformers
    tests/golden/make_tokenizer.py            # writes the files
    tests/golden/make_tokenizer.py --check    # reads tests/data/tokenizer/saved, written by graft,
                                              # with both libraries, and compares ids

Nothing here comes from graft but the folder saved/, whose bytes tests/test_wordpiece.c compares.
"""
import json
import os
import random
import shutil
import sys
import tempfile
import unicodedata

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import AutoTokenizer

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "tokenizer")
ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert(lower, strip, clean=True):
    return normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=True, strip_accents=strip, lowercase=lower)


def action(c, got):
    """What became of code point c, in the shortest words: see load_sweep() in the test."""
    if got == chr(c):
        return None
    if got == "":
        return "-"
    if got == " " + chr(c) + " ":
        return "pad"
    if 0xAC00 <= c <= 0xD7A3 and got == hangul(c):
        return "hangul"
    if len(got) == 1:
        return f"{ord(got) - c:+d}"
    return hexadecimal(got)


def hexadecimal(text):
    return " ".join(f"{ord(c):X}" for c in text)


def hangul(c):
    c -= 0xAC00
    parts = [0x1100 + c // 588, 0x1161 + c % 588 // 28, 0x11A7 + c % 28]
    return "".join(map(chr, parts if c % 28 else parts[:2]))


def write_runs(name, pairs):
    runs = []
    for c, what in pairs:
        if what is None:
            continue
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == what:
            runs[-1][1] = c
        else:
            runs.append([c, c, what])
    with open(os.path.join(OUT, name), "w") as f:
        f.writelines(f"{a:X}\t{b:X}\t{what}\n" for a, b, what in runs)


def sweeps():
    for name, normalizer in (("uncased", bert(True, None)), ("cased", bert(False, None)), ("accents", bert(True, False)), ("raw", bert(False, True, False))):
        write_runs(f"sweep_{name}.tsv", ((c, action(c, normalizer.normalize_str("a" + chr(c) + "b")[1:-1])) for c in ALL))
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    write_runs("sweep_words.tsv", ((c, {1: None, 2: "space", 3: "punct"}[len(split("a" + chr(c) + "b"))]) for c in ALL))
    words = Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    words.add_tokens([AddedToken("<x>", single_word=True, normalized=False)])
    write_runs("sweep_letters.tsv", ((c, "word" if 1 not in words.encode(chr(c) + "<x>").ids else None) for c in ALL))


def marks():
    """Rows of combining characters: canonical order, with what strip_accents leaves of it."""
    rng, normalizer = random.Random(1), bert(True, None)
    usual = [c for c in ALL if unicodedata.combining(chr(c))]
    left = [0x1B44, 0x302E, 0x302F, 0x1D165, 0x1D16D, 0x16FF0, 0x11442, 0x11446, 0x1E94A, 0x1E944, 0x8D4, 0xA953]
    other = [0x61, 0x41, 0x20, 0x4E00, 0xAC01, 0xAD, 0xE9, 0x1D160, 0x903, 0x94D, 0x901, 0x941]
    gone = [0x01, 0x7F, 0xAD]
    with open(os.path.join(OUT, "marks.tsv"), "w") as f:
        for _ in range(500):
            text = "".join(chr(rng.choice(rng.choice([usual, left, left, left, other, gone]))) for _ in range(rng.randint(2, 9)))
            f.write(hexadecimal(text) + "\t" + hexadecimal(normalizer.normalize_str(text)) + "\n")


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789àéîõüßçñÀÉαβγσςΣабвгдАЙйіøłđ"
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~€£©®°·•…—–“”‘’«»¿¡、。「」！？☃🙂的人中国日本語かなカナ한국ᄒ"
PIECES = """the of and to in is good bad very product price it was un ##able ##ing ##ed ##s ##er ##ly want run ##n new york
café cafe naïve naive don ' t Good The München munchen ##chen ##ä straße strasse ΣΟΦΟΣ σοφος ##ος Москва москва ##ва ı i̇""".split()
RANGES = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x600), (0x600, 0x1000), (0x2000, 0x2100), (0x3000, 0x3100), (0x4E00, 0x4E80), (0xAC00, 0xAC80), (0x1D100, 0x1D200), (0x1F600, 0x1F650)]
ODD = [0, 9, 10, 11, 12, 13, 0x85, 0xAD, 0x130, 0x166D, 0x1734, 0x180E, 0x200B, 0x200D, 0xFEFF, 0xFFFD, 0x2B820, 0x2B920, 0xE000]


def vocabulary():
    tokens = SPECIALS + list(LETTERS + SIGNS) + ["##" + c for c in LETTERS + SIGNS] + PIECES
    return list(dict.fromkeys(tokens))


def random_text(rng):
    def piece():
        k = rng.random()
        if k < 0.25:
            return rng.choice(PIECES).replace("##", "") + rng.choice(["", " ", "  "])
        if k < 0.3:
            return rng.choice(SPECIALS + ["##s", "New York", "<x>", "a<x>", " <l> ", "<r>  ", "NEW YORK"])
        if k < 0.35:
            return chr(rng.choice(ODD))
        if k < 0.7:
            return rng.choice(LETTERS)
        return chr(rng.randrange(*rng.choice(RANGES)))

    return "".join(piece() for _ in range(rng.randint(0, 40)))


FIXED = ["", " ", "\t\n\r", "a" * 100, "a" * 101, "é" * 100 + " é", "的" * 101, "want" * 25, "a b" * 60, "don't un-wanted, CAFÉ!!!", "[MASK][mask] [UNK]", "İI ı ẞß ſ K Å ﬁ ǅ", "ΣΟΦΟΣ σοφος", "\ufeffthe\u200bgood", "the\u00adgood", "new  york new york NEW YORK city <l>l<l>"]


def mixed():
    """One vocabulary, read as tokenizer.json (uncased, with added tokens) and as vocab.txt (cased)."""
    vocab = vocabulary()
    os.makedirs(os.path.join(OUT, "uncased"), exist_ok=True)
    os.makedirs(os.path.join(OUT, "cased"), exist_ok=True)

    def build(lower):
        t = Tokenizer(WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
        t.normalizer, t.pre_tokenizer = bert(lower, None), pre_tokenizers.BertPreTokenizer()
        t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        t.add_special_tokens(SPECIALS)
        return t

    uncased, cased = build(True), build(False)
    uncased.add_tokens([AddedToken("New York"), AddedToken("New York City"), AddedToken("<l>l", normalized=False), AddedToken("<x>", single_word=True, normalized=False), AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=False), AddedToken("Good", special=True)])
    uncased.enable_truncation(16)
    uncased.enable_padding(length=16)
    uncased.save(os.path.join(OUT, "uncased", "tokenizer.json"))
    uncased.no_truncation()
    uncased.no_padding()
    with open(os.path.join(OUT, "uncased", "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1000000000000000019884624838656}, f)
    with open(os.path.join(OUT, "cased", "vocab.txt"), "w") as f:
        f.writelines(w + "\n" for w in vocab)
    with open(os.path.join(OUT, "cased", "tokenizer_config.json"), "w") as f:
        json.dump({"do_lower_case": False, "model_max_length": 512}, f)
    rng = random.Random(2)
    with open(os.path.join(OUT, "texts.jsonl"), "w") as f:
        for text in FIXED + [random_text(rng) for _ in range(500)]:
            text = text.replace("\0", "")
            f.write(json.dumps({"text": text, "uncased": uncased.encode(text).ids, "cased": cased.encode(text).ids}) + "\n")


TOY = {w: i for i, w in enumerate(SPECIALS + ["want", "##want", "##ed", "wa", "un", "runn", "##ing", ",", "low", "lowest", "Un", "é", "e", "的", "##人", "人", "x", "##x", "the", "of"])}


def folders():
    """How tokenizer_config.json, tokenizer.json and the others go together in AutoTokenizer."""
    base = Tokenizer(WordPiece(dict(TOY), unk_token="[UNK]"))
    base.normalizer, base.pre_tokenizer = bert(True, None), pre_tokenizers.BertPreTokenizer()
    base.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
    base.add_special_tokens(SPECIALS)
    n = len(TOY)

    def tj(added=(), **normalizer):
        j = json.loads(base.to_str())
        j["normalizer"].update(normalizer)
        j["added_tokens"] += [dict(id=n + i, **a) for i, a in enumerate(added)]
        return j

    def token(content, **flags):
        return {**dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False), **flags}

    vocab = "".join(w + "\n" for w in TOY)
    cases = {
        "json alone": {"tokenizer.json": tj()},
        "config says cased": {"tokenizer.json": tj(), "tokenizer_config.json": {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}},
        "config says uncased": {"tokenizer.json": tj(lowercase=False), "tokenizer_config.json": {"do_lower_case": True, "tokenizer_class": "BertTokenizerFast"}},
        "config keeps accents": {"tokenizer.json": tj(), "tokenizer_config.json": {"strip_accents": False}},
        "config joins Chinese": {"tokenizer.json": tj(), "tokenizer_config.json": {"tokenize_chinese_chars": False}},
        "json wins": {"tokenizer.json": tj(lowercase=False), "tokenizer_config.json": {"do_lower_case": True, "tokenizer_class": "PreTrainedTokenizerFast"}},
        "vocab alone": {"vocab.txt": vocab},
        "vocab with white space and repeats": {"vocab.txt": vocab.replace("lowest\n", "low \u3000\t\r\n")},
        "vocab cased": {"vocab.txt": vocab, "tokenizer_config.json": {"do_lower_case": False}},
        "added_tokens.json": {"vocab.txt": vocab, "added_tokens.json": {"<new>": n, "Lowx": n + 1}},
        "added in json": {"tokenizer.json": tj([token("<NEW>", normalized=True, lstrip=True), token("X", single_word=True)])},
        "config's added replace json's": {"tokenizer.json": tj([token("<new>")]), "tokenizer_config.json": {"added_tokens_decoder": {}}},
        "added in config": {"vocab.txt": vocab, "tokenizer_config.json": {"added_tokens_decoder": {str(n + 1): token("Lowx", normalized=True), str(n): token("<new>", rstrip=True)}}},
        "special from map": {"vocab.txt": vocab, "special_tokens_map.json": {"mask_token": {**token("[MASK]", lstrip=True)}, "unk_token": "x"}},
        "special from config": {"tokenizer.json": tj(), "tokenizer_config.json": {"cls_token": "the", "sep_token": "of", "unk_token": "x"}},
    }
    texts = ["UNwant\u00e9d,running x", "Low lowest LOWX xlow <new> <NEW>x", "的人 的人é [MASK]  [MASK] ☃ the"]
    with open(os.path.join(OUT, "folders.jsonl"), "w") as f:
        for name, files in cases.items():
            with tempfile.TemporaryDirectory() as d:
                files = {k: v if isinstance(v, str) else json.dumps(v) for k, v in files.items()}
                for k, v in {**files, "config.json": '{"model_type": "bert"}'}.items():
                    with open(os.path.join(d, k), "w", newline="") as g:
                        g.write(v)
                t = AutoTokenizer.from_pretrained(d)
                f.write(json.dumps({"name": name, "files": files, "texts": texts, "ids": [t(x)["input_ids"] for x in texts]}) + "\n")


def check():
    rows = [json.loads(line) for line in open(os.path.join(OUT, "texts.jsonl"))]
    for name in ("uncased", "cased"):
        saved = os.path.join(OUT, "saved", name)
        with tempfile.TemporaryDirectory() as d:
            shutil.copytree(saved, d, dirs_exist_ok=True)
            with open(os.path.join(d, "config.json"), "w") as f:
                f.write('{"model_type": "bert"}')
            auto, fast = AutoTokenizer.from_pretrained(d), Tokenizer.from_file(os.path.join(d, "tokenizer.json"))
        assert auto.model_max_length == 128
        for row in rows:
            assert auto(row["text"])["input_ids"] == row[name], (name, row["text"])
            assert fast.encode(row["text"]).ids == row[name], (name, row["text"])
        print(f"{name}: {len(rows)} texts equal in AutoTokenizer and tokenizers")


if "--check" in sys.argv:
    check()
else:
    os.makedirs(OUT, exist_ok=True)
    sweeps()
    marks()
    mixed()
    folders()

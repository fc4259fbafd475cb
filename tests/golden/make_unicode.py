#!/usr/bin/env python3
"""Writes data/unicode.def: where newer Unicode tables differ from what the fast BERT tokenizer does.

    pip install tokenizers unicodedata2
    tests/golden/make_unicode.py > data/unicode.def

The tokenizers package carries Unicode tables of several ages (categories of Unicode 8, decompositions
of Unicode 9, lower case of its compiler's). graft asks utf8proc, whose tables are newer. The package
is probed for every code point; a line is written where its answer differs from the installed
libutf8proc's or from unicodedata2's, so that the list holds for every utf8proc between the two.
"""
import ctypes
import ctypes.util

import tokenizers
import unicodedata2
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

utf8proc = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
utf8proc.utf8proc_version.restype = ctypes.c_char_p
utf8proc.utf8proc_unicode_version.restype = ctypes.c_char_p


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


utf8proc.utf8proc_get_property.restype = ctypes.POINTER(Property)
ALL = [c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]


def bert(**on):
    flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return BertNormalizer(**{**flags, **on}).normalize_str


clean, strip, lower, nfd = bert(clean_text=True), bert(strip_accents=True), bert(lowercase=True), NFD().normalize_str
punctuation = lambda c: len(BertPreTokenizer().pre_tokenize_str("a" + chr(c) + "b")) == 3

words = Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
words.add_tokens([AddedToken("<x>", single_word=True, normalized=False)])
is_word = lambda c: 1 not in words.encode(chr(c) + "<x>").ids

# One mark of each combining class, by which the class of any other is found: NFD swaps two marks
# when the first one's class is the greater.
MARKS = {}
for c in range(0x300, 0x1D200):
    k = unicodedata2.combining(chr(c))
    if k and nfd(chr(c)) == chr(c) and nfd(chr(c) + "\u0334") != chr(c) + "\u0334":
        MARKS.setdefault(k, chr(c))
MARKS[1] = "\u0334"


def order(c):
    c = chr(c)
    stays = lambda a, b: nfd("a" + a + b) == "a" + a + b
    if stays(c, MARKS[1]):
        return 0 if stays(MARKS[240], c) else 1
    return min(k for k in MARKS if stays(c, MARKS[k]))


def categories(c):
    return {utf8proc.utf8proc_category_string(c).decode(), unicodedata2.category(chr(c))}


def class_theirs(c):
    gone, mark, punct = clean(chr(c)) == "", strip(chr(c)) == "", punctuation(c)
    return " | ".join(n for n, on in (("DROP", gone), ("MARK", mark), ("PUNCT", punct)) if on) or "0"


def class_of(category, c):
    if c == 0xFFFD or category in ("Cc", "Cf", "Co"):
        return "DROP"
    return "MARK" if category == "Mn" else "PUNCT" if category[0] == "P" else "0"


def word_of(category):
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc")


def runs(pairs):
    """(code point, value), ascending -> (first, last, value)"""
    out = []
    for c, value in pairs:
        if out and out[-1][1] == c - 1 and out[-1][2] == value:
            out[-1][1] = c
        else:
            out.append([c, c, value])
    return out


def section(name, what, pairs):
    print(f"/* {what} */\n#ifdef {name}")
    for first, last, value in runs(pairs):
        print(f"{name}(0x{first:04X}, 0x{last:04X}, {value})")
    print(f"#undef {name}\n#endif\n")


def lowers():
    for c in ALL:
        theirs = lower(chr(c))
        newer = unicodedata2.category(chr(c)) in ("Lu", "Lt")
        unknown = utf8proc.utf8proc_category_string(c) == b"Cn"
        if len(theirs) == 1 and (ord(theirs) != utf8proc.utf8proc_tolower(c) or (newer and unknown)):
            yield c, ord(theirs) - c


def orders():
    for c in ALL:
        tables = {utf8proc.utf8proc_get_property(c)[0].combining_class, unicodedata2.combining(chr(c))}
        if tables != {0} and nfd(chr(c)) == chr(c) and tables != {order(c)}:
            yield c, order(c)


def ours_nfd(c):
    buffer, bound = (ctypes.c_int32 * 16)(), ctypes.c_int(0)
    n = utf8proc.utf8proc_decompose_char(c, buffer, 16, 1 << 4, ctypes.byref(bound))
    return "".join(map(chr, buffer[:n]))


def wholes():
    for c in ALL:
        if nfd(chr(c)) != ours_nfd(c) or nfd(chr(c)) != unicodedata2.normalize("NFD", chr(c)):
            assert nfd(chr(c)) == chr(c)
            yield c, 1


print(f"""/* Where the fast BERT tokenizer (tokenizers {tokenizers.__version__}) differs from newer Unicode tables: from
 * utf8proc {utf8proc.utf8proc_version().decode()} (Unicode {utf8proc.utf8proc_unicode_version().decode()}) or from Unicode {unicodedata2.unidata_version}.
 * Written by tests/golden/make_unicode.py; each line is (first, last code point, value). */
""")
section("GF_UNICODE_CLASS", "The class, in full.", ((c, class_theirs(c)) for c in ALL if {class_of(k, c) for k in categories(c)} != {class_theirs(c)}))
section("GF_UNICODE_LOWER", "Lower case: what is added to the code point.", lowers())
section("GF_UNICODE_ORDER", "The canonical combining class.", orders())
section("GF_UNICODE_WHOLE", "Not decomposed.", wholes())
section("GF_UNICODE_WORD", "Whether \\\\w of the regex crate matches.".replace("\\\\", "\\"), ((c, int(is_word(c))) for c in ALL if c not in (0x200C, 0x200D) and {word_of(k) for k in categories(c)} != {is_word(c)}))

#!/usr/bin/env python3
"""Writes mojibake.json: real lines of many languages, and what they become when their UTF-8 is read
as Windows-1252 (Latin-1 for the bytes it leaves free, as the WHATWG's decoder does) and written as
UTF-8 again. Python's codecs do the damage.

usage: python3 tests/golden/make_mojibake.py

"real" must be left alone by graft; "broken" must become "real", also when damaged "twice". Lines of
"only_real" give valid bytes somewhere, or have damage that cannot be told from real text.
"""
import json
import pathlib

LINES = [
    "Le café est très agréable, l’été à Paris coûte cher.",
    "Ça été « déjà vu » à l’hôtel ; où êtes-vous, mon cœur ?",
    "Der Käse schmeckt köstlich, aber der Preis ist eine Unverschämtheit!",
    "Übergröße: Das Kleid fällt größer aus – schöne Farbe, süße Ärmel.",
    "Ich zahlte 25 € für „gute“ Ware.",
    "Sản phẩm này rất tốt, giao hàng nhanh, tôi sẽ mua lại.",
    "Tiếng Việt có dấu, đẹp và khó.",
    "O produto é ótimo, mas a entrega não chegou à tempo; coração e pão.",
    "Não recomendo: péssima qualidade, três estrelas.",
    "El niño comió piñas. ¿Cuánto cuesta? ¡Qué bien!",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Zażółć gęślą jaźń.",
    "Gyűrű és őrült űrhajó.",
    "Çok güzel bir ürün, ığdır’dan geldi.",
    "Blåbærgrød på Ærø, smörgåsbord i Malmö.",
    "Это очень хороший сыр, рекомендую.",
    "Πολύ καλό τυρί, το συνιστώ.",
    "这个产品很好。",
    "とても良いです。",
    "Great cheese 😀👍 — don’t miss it…",
    "Price: £20, 30 °C, ½ cup, ±5 %, Nestlé®",
]
ONLY_REAL = [
    "Das macht Spaß“, sagte er, „und ist groß“.",
    "Viel Spaß… und groß–klein; Fuß’, Fuß”",
    "« Voilà », dit-elle, « un café » ; ça y est…",
    "«\u00a0Voilà\u00a0», dit-elle, «\u00a0un café\u00a0»\u00a0; il a mangé…”",
    "“CAFÉ” et “DÉJÀ VU”, “À LA CARTE…” É… ÀÉÈ",
    "ELE DISSE: “AMANHÃ”, “MANHÃ…”, «IRMÃ» E “MAÇÃ”; MANHÃ\u00a0E TARDE",
    "ÂNCORA, Ângela, “Ô DE CASA”, NÃO, CORAÇÃO – ÍNDIO—ÓTIMO",
    "„Ä“, „Ö“ und „Ü“ sind Umlaute; Ä–Z, Ä…",
    "Úžasný výrobek, Ýrobek, šťastný; Úžice",
    "Ä, Å, Ö: tio Å², 1.54 Å±0.02, 3 Å·s, »Å«",
    "TIẾNG VIỆT: ÃN, ÂM, Ê, Ô, Ơ, Ư; CÂU HỎI… “CÂ”",
    "l’Étoile, L’ÎLE, l’À-côté",
    "ALLÁ»… «allá» ¿Qué? ¡Así!",
    "ÑANDÚ – ESPAÑA… “AÑO”",
    "ÞÆÐ ð Þór ßü ÿ ¼½¾ ©®™ §5 ¶ †‡",
    "naïve café résumé",
    "plain ASCII",
    "这个产品很好。 Это сыр. 😀",
]
UPPER = {b: chr(b) for b in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}


def damage(text):
    return "".join(UPPER.get(b) or bytes([b]).decode("cp1252") for b in text.encode())


def main():
    lines = [{"real": t, "broken": damage(t), "twice": damage(damage(t))} for t in LINES]
    path = pathlib.Path(__file__).with_name("mojibake.json")
    path.write_text(json.dumps({"lines": lines, "only_real": ONLY_REAL}, ensure_ascii=False,
                               indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Which encoding words were written in, judged by what they read as in each. Reads and writes nothing.

A reading is refuted by words that nobody writes: a sign or a letter of another script within a word, a capital between
small letters, an accent on nothing, letters that no one language has together. An encoding is decided only where every
reading that says something else is refuted; languages are many and words may be few, so that often none is.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

ONE_BYTE = (
    "cp1252", "cp1250", "cp1251", "iso8859_15", "iso8859_2", "cp1254", "cp1257", "cp1253", "cp1255", "cp1256", "cp1258",
    "cp874", "mac_roman", "cp850", "cp858", "cp437", "cp852", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic",
    "cp855", "cp1125", "kz1048", "ptcp154", "iso8859_7", "cp737", "cp869", "mac_greek", "iso8859_8", "cp862",
    "iso8859_6", "cp864", "cp720", "iso8859_9", "cp857", "mac_turkish", "iso8859_4", "iso8859_10", "iso8859_13",
    "cp775", "iso8859_3", "iso8859_14", "iso8859_16", "mac_latin2", "mac_croatian", "mac_romanian", "mac_iceland",
    "cp860", "cp861", "cp863", "cp865",
)  # fmt: skip
"""Of those that read alike the first is named."""
MORE_BYTES = ("gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949", "johab")
"""Which characters belong together only a reader knows."""

SHORT = 8
"""Words that must speak against a reading by their letters or capitals alone; a sign within a word needs less."""
WORDS = 1_000
"""Different words that are judged."""

_ALPHABETS = {
    "German": "äöüßéà", "Dutch": "éèëïöüêäóá", "French": "àâæçéèêëîïôœùûüÿ", "Spanish": "áéíóúüñ",
    "Portuguese": "áâãàçéêíóôõúü", "Italian": "àèéìíîòóùú", "Catalan": "àçèéíïòóúü", "Nordic": "æøåäöéèêóòôüáà",
    "Estonian": "äöüõšž", "Finnish": "äöåšžé", "Icelandic": "áéíóúýðþæö", "Faroese": "áíóúýðæø", "Irish": "áéíóúàèìòù",
    "Welsh": "âêîôûŵŷáéíóúàèìòùäëïöüẅÿ", "Polish": "ąćęłńóśźż", "Czech": "áčďéěíňóřšťúůýž",
    "Slovak": "áäčďéíĺľňóôŕšťúýž", "Hungarian": "áéíóöőúüű", "Croatian": "čćđšžäöü",
    "Romanian": "ăâîșțşţ", "Albanian": "ëç",
    "Turkish": "çğıöşüâîûi̇", "Lithuanian": "ąčęėįšųūž", "Latvian": "āčēģīķļņōŗšūž", "Maltese": "ċġħżàèìòù",
    "Esperanto": "ĉĝĥĵŝŭ", "Sami": "áčđŋšŧžäöåæø", "Vietnamese": "ăâđêôơư",
    "Luxembourgish": "äöüßéèêàâçëîïôû",
    "Russian": "абвгдежзийклмнопрстуфхцчшщъыьэюяё", "Ukrainian": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "Bulgarian": "абвгдежзийклмнопрстуфхцчшщъьюя", "Serbian": "абвгдђежзијклљмнњопрстћуфхцчџш",
    "Macedonian": "абвгдѓежзѕијклљмнњопрстќуфхцчџш", "Belarusian": "абвгдеёжзійклмнопрстуўфхцчшыьэюя",
    "Kazakh": "аәбвгғдежзийкқлмнңоөпрстуұүфхһшыіюя",
    "Greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",
    "Hebrew": "אבגדהוזחטיךכלםמןנסעףפץצקרשת", "Arabic": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي",
    "Persian": "آئابپتثجچحخدذرزژسشصضطظعغفقکگكلمنهوىيی", "Urdu": "آئابپتٹثجچحخدڈذرڑزژسشصضطظعغفقکگلمںنهوہھءےیؤ",
    "Thai": "กขคฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรฤลวศษสหฬอฮะาำเแโใไๅๆฯัิีึืฺุู็่้๊๋์",
}  # fmt: skip
"""Letters beyond ASCII that texts of one language hold, in lower case."""
_PLACES = {"Portuguese": re.compile(r"ã(?![oeisç]|\b)|õ(?!e|\b)")}
"""Where a language does not put its letters."""
_ONLY = {
    "iso8859_3": "Maltese Esperanto", "iso8859_4": "Latvian Lithuanian Estonian", "iso8859_10": "Sami Icelandic Nordic",
    "iso8859_13": "Latvian Lithuanian Estonian", "iso8859_14": "Welsh Irish", "iso8859_16": "Romanian",
    "mac_croatian": "Croatian", "mac_romanian": "Romanian", "mac_iceland": "Icelandic Faroese",
    "mac_turkish": "Turkish", "cp857": "Turkish", "cp1258": "Vietnamese",
    "cp860": "Portuguese", "cp861": "Icelandic", "cp863": "French",
    "cp865": "Nordic", "kz1048": "Kazakh", "ptcp154": "Kazakh",
}  # fmt: skip
"""What encodings that are hardly found elsewhere were made for."""
_LANGUAGES = {name: 1 << place for place, name in enumerate(_ALPHABETS)}
_ALL = (1 << len(_LANGUAGES)) - 1

_SCRIPTS = (
    ("LATIN ", "A", "a"), ("CYRILLIC ", "C", "c"), ("GREEK ", "G", "g"), ("HEBREW ", "h", "h"), ("ARABIC ", "r", "r"),
    ("THAI ", "k", "k"), ("HANGUL ", "K", "K"), ("HIRAGANA", "J", "J"), ("KATAKANA", "J", "J"),
    ("HALFWIDTH KATAKANA", "J", "J"), ("CJK ", "H", "H"), ("FULLWIDTH LATIN ", "W", "W"), ("BOPOMOFO", "H", "H"),
)  # fmt: skip
_SIGNS = {
    **dict.fromkeys("'’‘´`ʼ", "'"), **dict.fromkeys("–—‑-\xa0_/|@[]\\^{}~、。，：（）・「」", "-"),
    **dict.fromkeys("“„‚«‹¿¡", "o"), **dict.fromkeys("”»›…™®©°ºª²³¹‰", "e"),
    **dict.fromkeys("£€¥¢§¤µ±×÷½¼¾•·¬¦№₪¶", "y"),
    **dict.fromkeys("άέήίόύώΐΰ", "t"), "ς": "s", **dict.fromkeys("ךםןףץ", "f"), **dict.fromkeys("เแโใไ", "p"),
    **dict.fromkeys("ะาำๅๆฯ", "q"), "ー": "J",
}  # fmt: skip


class _Shapes(dict[int, str]):
    """What kind of character each is, in a letter: U l 0 as in ASCII; A a Latin, C c Cyrillic, G g Greek (t accented, s
    final), h f Hebrew, r Arabic, n their points, k p q Thai, d other digits, H K J W of East Asia; m an accent alone;
    ' - o e y signs; X z what words do not hold."""

    def __missing__(self, code: int) -> str:
        self[code] = shape = _shape(chr(code))
        return shape


def _shape(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character.isascii():
        if character.isalpha():
            return "U" if character.isupper() else "l"
        return "0" if character.isdigit() else "-"
    category = unicodedata.category(character)
    if category == "Mn":
        script = unicodedata.name(character, "").partition(" ")[0]
        return {"THAI": "q", "HEBREW": "n", "ARABIC": "n"}.get(script, "m")
    if category == "Nd":
        return "d"
    if category[0] == "L" and category != "Lm":
        name = unicodedata.name(character, "")
        if name.startswith("LATIN SMALL LIGATURE F"):
            return "z"
        for script, upper, lower in _SCRIPTS:
            if name.startswith(script):
                return upper if category == "Lu" else lower
        return "X"
    return "X" if category[0] == "C" or "─" <= character <= "▟" else "z"


_SHAPES = _Shapes()

_LATIN, _CASED = "UlAa", "UlAaCcGgts"
_LETTER = "UlAaCcGgtshfrkpqHKJW"
_REFUTED = re.compile(
    "|".join(
        (
            "X",
            f"[{_LETTER}0]z|z[{_LETTER}0]",
            f"[{_LETTER}][yeo]+[{_LETTER}]",
            "[UlAa][CcGgtshfrkpqK]|[CcGgtshfrkpqK][UlAa]",
            "[CcGgts][hfrkpqHKJ]|[hfrkpqHKJ][CcGgts]",
            "[Cc][Ggts]|[Ggts][Cc]|[hf][rkpqHKJ]|r[hfkpqHKJ]|[kpq][hfrHKJ]|[HKJ][hfrkpq]",
            "[UlAa][HJ]+l|lH",
            f"[la]A+[la]|[UA]a[UA]|(?<![{_LETTER}])UA[la]|cCC|[gts]G",
            f"(?<![{_LATIN}])[Aa]{{5,}}(?![{_LATIN}])",
            f"(?<![{_LATIN}m])m|mmm|(?<![hfrn])n|[UlAa0]d|d[UlAa0]",
            f"s[gtGs]|fh|p(?![k])|(?<![kq])q|t[^-'0]*t[^-'0]*t|(?<![{_LETTER}])'[gts]",
        )
    )
)
"""No word has such a shape."""
_ODD = re.compile(
    "|".join(
        (
            f"[{_LETTER}][yo]|y[{_LETTER}]|e[lacgt]|z|d[rhk]|[rhk]d",
            f"[{_CASED}]A[la]|[la]A|[AU][UA]+a$|cC|CC+c",
            f"(?<![{_LATIN}])[Aa]{{3,}}(?![{_LATIN}])|[Aa]{{5}}|t[^-'0]*t",
            "(?<![hf])f|HK|KH|KJ|JK|(?<![HKJ])[HKJ](?![HKJ])|W",
        )
    )
)
"""Few words have such a shape."""


_NEVER = {*MORE_BYTES, *_ONLY, "cp1255", "iso8859_8", "cp862", "cp1256", "iso8859_6", "cp864", "cp720"}
"""Not decided: those whose words have too few marks of being any, and those that are hardly found."""

OK, ODD, REFUTED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What encodings that read all words alike make of them."""

    encoding: str
    """The commonest of them."""
    texts: tuple[str, ...]
    verdicts: bytes
    """Of each word: OK; ODD, of a rare shape or with letters that the best fitting language does not have; REFUTED,
    of a shape that no word has."""

    @property
    def wrong(self) -> int:
        return len(self.verdicts) - self.verdicts.count(OK)

    @property
    def convincing(self) -> bool:
        """A few words may be misspelt, or of another language."""
        return self.wrong <= 0.05 * len(self.verdicts)

    def stands_beside(self, best: Reading) -> bool:
        """It may be this and not `best`: too little speaks against it in the words that the two read differently."""
        differ = [a != b for a, b in zip(self.texts, best.texts, strict=True)]
        refuted = sum(verdict == REFUTED for verdict, other in zip(self.verdicts, differ, strict=True) if other)
        wrong = sum(mine > theirs for mine, theirs in zip(self.verdicts, best.verdicts, strict=True))
        least = 1 if self.encoding in _ONLY else SHORT
        return refuted < max(1, 0.05 * sum(differ)) and wrong < max(least, 0.15 * sum(differ))


def readings(words: Sequence[bytes], fitting: Collection[str]) -> list[Reading]:
    """What `words` read as, the most plausible first. `fitting`: the encodings that can decode the whole text."""
    found: dict[tuple[str, ...], Reading] = {}
    if not words:
        return []
    for encoding in (*ONE_BYTE, *MORE_BYTES):
        if encoding in fitting:
            texts = tuple([codecs.getincrementaldecoder(encoding)("replace").decode(word) for word in words])
            if texts not in found:
                found[texts] = Reading(encoding, texts, _verdicts(encoding, texts))
    ranked = sorted(found.values(), key=lambda one: one.wrong + one.verdicts.count(REFUTED))
    return [one for one in ranked if one.stands_beside(ranked[0])] + [
        one for one in ranked if not one.stands_beside(ranked[0])
    ]


def decided(found: Sequence[Reading]) -> str | None:
    """The encoding, where the words prove it."""
    if not found or not found[0].convincing or found[0].encoding in _NEVER:
        return None
    return None if any(other.stands_beside(found[0]) for other in found[1:]) else found[0].encoding


def _verdicts(encoding: str, texts: Sequence[str]) -> bytes:
    found, masks = bytearray(len(texts)), [0] * len(texts)
    for place, text in enumerate(texts):
        shape = text.translate(_SHAPES)
        found[place] = REFUTED if _REFUTED.search(shape) else ODD if _ODD.search(shape) else OK
        masks[place] = _languages(text)
    counted = Counter(mask for mask, verdict in zip(masks, found, strict=True) if verdict == OK)
    made_for = [_LANGUAGES[name] for name in _ONLY.get(encoding, "").split()] or list(_LANGUAGES.values())
    best = max(made_for, key=lambda one: sum(n for mask, n in counted.items() if mask & one))
    return bytes([max(verdict, OK if mask & best else ODD) for verdict, mask in zip(found, masks, strict=True)])


def _languages(text: str) -> int:
    """A bit for each language that has all letters of `text`."""
    found = _ALL
    for character in text:
        if not character.isascii():
            found &= _having(character)
    for name, nowhere in _PLACES.items():
        if found & _LANGUAGES[name] and nowhere.search(text.lower()):
            found &= ~_LANGUAGES[name]
    return found


@cache
def _having(character: str) -> int:
    shape = character.translate(_SHAPES)
    if shape not in _LETTER:
        return _ALL  # a sign
    lower = character.lower()
    found = sum(_LANGUAGES[name] for name, letters in _ALPHABETS.items() if lower in letters)
    return _ALL if shape in "HKJ" else found

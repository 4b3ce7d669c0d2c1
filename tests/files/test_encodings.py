"""In which encoding a text is: what real words in many of them are read as, and what an error says where it is open."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from daemon.core.encodings import ONE_BYTE
from daemon.errors import FileProblem
from daemon.files.table import open_table, survey

SAMPLES = {
    "German": "Müller Jäger Köln Straße Größe Übersicht Ärzte Öl für Mädchen schön Düsseldorf weiß Gebühr Fürth 20°C",
    "French": "Société crème brûlée Hélène François été déjà élève forêt où à Noël œuvre cœur Besançon Île préféré "
              "Étienne Nîmes Orléans fenêtre hôtel garçon Joël Agnès très après père mère frère pièce première Genève "
              "règle système problème modèle bière arrêté prêt même tête fête intérêt collège siège lèvre fidèle "
              "Hervé naïf maïs haïr août coût goût dîner île boîte maître être âge château gâteau câble à",
    "Spanish": "Muñoz España señor año Peña Núñez Íñigo café Martínez corazón Ángel pingüino niño mañana Coruña "
               "pequeño sueño montaña baño otoño diseño tamaño compañía cañón araña leña daño "
               "puño viña uña Málaga Cádiz José María Gómez Sánchez Pérez Jesús Inés árbol fácil",
    "Portuguese": "São João Conceição Gonçalves Antônio coração maçã irmãos nações café você Brasília Pará órgão "
                  "ação Araújo Guimarães avó avô três Tânia Ângela funções pão mãe limões órfãs bênção saída lâmpada",
    "Italian": "città perché università più caffè può così Niccolò però lunedì libertà è qualità virtù società giù",
    "Danish": "Søren Århus København Ærø Jørgen brød Nørrebro træ gård Åse skæg øl påske smør frø blå Sjælland",
    "Swedish": "Göteborg Malmö Västerås Håkansson Åsa Örebro köpman Linköping räksmörgås Kåre Luleå Umeå Piteå Skåne "
               "Åland båt gård språk Mårtensson Blåsjö Ångström Hållö Grådö Fårö Tåsjön Vårgårda Råå",
    "Icelandic": "Reykjavík Þór Guðrún Sigurður Björk Ísafjörður Akureyri Sævar Þórður Hafnarfjörður",
    "Estonian": "Tõnu Jõgi Pärnu Võru Käärik Šveits žürii Jüri Kõiv Mõis",
    "Polish": "Łódź Wałęsa Żółć Gdańsk Kraków Świętosław Zażółć gęślą jaźń Źródło Częstochowa Białystok złoty "
              "Rzeszów Toruń Poznań Wrocław Łomża Góra Ząbki Świdnica Kędzierzyn",
    "Czech": "Dvořák Plzeň Čapek Žižkov České Budějovice Ústí nad Labem příliš žluťoučký kůň úpěl ďábelské ódy Novák",
    "Hungarian": "Győr Székesfehérvár Árpád Erdős Szűcs Nagykőrös őszi fűtő tűzoltó Dömötör",
    "Croatian": "Šibenik Žarko Đorđević Čakovec Ivanić Grđić Marković",
    "Romanian": "Bucureşti Iaşi Braşov Timişoara Constanţa Ştefan Sângeorz Brâncuşi",
    "Turkish": "İstanbul Çelik Özgür Şahin Yıldız Güneş Kadıköy Ağrı Beşiktaş Çağrı",
    "Lithuanian": "Šiauliai Klaipėda Panevėžys Žemaitė Jonušauskas Čiurlionis Ąžuolas",
    "Latvian": "Rīga Liepāja Jēkabpils Ķemeri Bērziņš Ozoliņa Šķēle Ļubova",
    "Russian": "Москва Общество Россия Иванов Пётр Юлия Ярославль Щукин Жуков Санкт-Петербург объект вьюга Эльза Яна",
    "Ukrainian": "Київ Львів Шевченко Їжак Європа Харків Запоріжжя Ґалаґан щастя об'єкт Юлія",
    "Bulgarian": "София Пловдив Търново Щъркел Юлия Ямбол Бъчварова",
    "Serbian": "Београд Ђорђе Ниш Љубица Његош Чачак Џамија",
    "Greek": "Αθήνα Θεσσαλονίκη Γιώργος Παπαδόπουλος Ελλάδα Ρόδος Ύδρα Ώρα άνθρωπος Λάρισα "
             "Πειραιάς Ηράκλειο Νικόλαος Δημήτρης ψωμί όνομα σχολείο χώρα φως Βόλος",
    "Hebrew": "ירושלים חיפה דוד כהן שלום עליכם ישראל",
    "Arabic": "القاهرة محمد أحمد السلام عليكم شركة مصر",
    "Thai": "กรุงเทพมหานคร เชียงใหม่ สวัสดี บริษัท จำกัด ประเทศไทย",
    "Kazakh": "Қазақстан Алматы Нұрсұлтан Өскемен Шымкент Бағдат Әйгерім Үштөбе теңге",
    "Chinese": "中文字符 公司 北京市 有限公司 张伟 男 女",
    "Taiwanese": "中文 公司 臺北市 有限公司 張偉 男 女",
    "Japanese": "株式会社 東京都 山田太郎 カタカナ ひらがな アイテム 男",
    "Korean": "한국어 주식회사 서울특별시 김철수 상품명 남",
}  # fmt: skip
ENCODINGS = {
    "German": "cp1252 cp1250 iso8859_15 mac_roman cp850 cp437 cp852 cp1254", "Icelandic": "cp1252 cp861 mac_iceland",
    "French": "cp1252 iso8859_15 mac_roman cp850 cp437 cp863", "Spanish": "cp1252 mac_roman cp850 cp437",
    "Portuguese": "cp1252 mac_roman cp850 cp860", "Italian": "cp1252 mac_roman cp850", "Thai": "cp874",
    "Danish": "cp1252 cp865 mac_roman cp850", "Swedish": "cp1252 cp850 mac_roman", "Romanian": "cp1250 iso8859_2 cp852",
    "Estonian": "cp1257 iso8859_13 cp775", "Polish": "cp1250 iso8859_2 cp852 mac_latin2", "Kazakh": "kz1048 ptcp154",
    "Czech": "cp1250 iso8859_2 cp852 mac_latin2", "Hungarian": "cp1250 iso8859_2 cp852", "Korean": "cp949 johab",
    "Croatian": "cp1250 iso8859_2 mac_croatian", "Turkish": "cp1254 iso8859_9 cp857 mac_turkish", "Chinese": "gb18030",
    "Lithuanian": "cp1257 cp775 iso8859_13", "Latvian": "cp1257 cp775 iso8859_4", "Japanese": "cp932 euc_jis_2004",
    "Russian": "cp1251 koi8_r iso8859_5 cp866 mac_cyrillic cp855", "Taiwanese": "big5hkscs",
    "Ukrainian": "cp1251 koi8_u iso8859_5 cp1125", "Serbian": "cp1251 iso8859_5 cp855", "Bulgarian": "cp1251 cp866",
    "Hebrew": "cp1255 iso8859_8 cp862",
    "Greek": "cp1253 iso8859_7 cp737 cp869 mac_greek", "Arabic": "cp1256 iso8859_6 cp720",
}  # fmt: skip
TABLE = [(language, encoding) for language, encodings in ENCODINGS.items() for encoding in encodings.split()]
PROVED = [
    ("German", "cp1252"), ("German", "iso8859_15"), ("German", "mac_roman"), ("German", "cp1250"), ("French", "cp1252"),
    ("Spanish", "cp1252"), ("Swedish", "cp1252"), ("Polish", "cp1250"), ("Polish", "cp852"), ("Polish", "iso8859_2"),
    ("Czech", "cp1250"), ("Russian", "cp1251"), ("Russian", "koi8_r"), ("Russian", "cp866"), ("Russian", "iso8859_5"),
    ("Greek", "cp1253"), ("Thai", "cp874"),
]  # fmt: skip
"""Where the whole sample is proof enough: refusing everything would be no reader."""


def read(path: Path, words: list[str], encoding: str) -> tuple[str, list[str], str]:
    """(encoding that was found, words that were read, error)."""
    path.write_bytes("\n".join(["name", *words]).encode(encoding))
    try:
        with open_table(path) as table:
            return str(table.encoding), [str(row.cells[0]) for row in table], ""
    except FileProblem as error:
        return "", [], f"{error} {error.action}"


def known(words: list[str], encoding: str) -> list[str]:
    """Those that can be written in it."""
    return [word for word in words if word.encode(encoding, "ignore").decode(encoding) == word]


def is_utf_8(words: list[str], encoding: str) -> bool:
    """By chance, as few words may be: nobody could tell."""
    try:
        return bool("\n".join(words).encode(encoding).decode())
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize(("language", "encoding"), TABLE)
def test_words_are_read_as_they_were_written_or_not_at_all(tmp_path, language, encoding):
    """Each word by itself, halves and the whole sample, in capitals too; never as something else."""
    words = SAMPLES[language].split()
    for part in (
        *([word] for word in words),
        words[::2],
        words[1::2],
        words,
        [word.upper() for word in words if word != "weiß"],
    ):
        if part != known(part, encoding) or is_utf_8(part, encoding):
            continue
        found, texts, error = read(tmp_path / "a.csv", part, encoding)
        assert texts == part or (error and "--encoding" in error), (part, found, texts)


@pytest.mark.parametrize(("language", "encoding"), PROVED)
def test_enough_words_are_proof(tmp_path, language, encoding):
    """Each other reading is refuted."""
    words = known(SAMPLES[language].split(), encoding)
    assert read(tmp_path / "a.csv", words, encoding)[1] == words


@pytest.mark.parametrize("encoding", ["cp1252", "cp1250", "cp850", "mac_roman", "cp1251"])
def test_words_of_several_languages_are_not_taken_for_those_of_one(tmp_path, encoding):
    """A list of customers of all Europe, each language's words among those of another."""
    for one, other in pairwise(ENCODINGS):
        both = [word for pair in zip(SAMPLES[one].split(), SAMPLES[other].split(), strict=False) for word in pair]
        words = known(both, encoding)
        found, texts, error = read(tmp_path / "a.csv", words, encoding)
        assert texts == words or error, (found, texts)


def test_an_open_question_is_asked_with_what_each_answer_would_mean(tmp_path):
    """The line, the encodings, the words as they would read in each, and where to state it."""
    _, _, error = read(tmp_path / "a.csv", ["x", "Dvořák"], "cp1250")
    assert "line 3: the text is not UTF-8, and its words do not prove what else" in error
    assert "as cp1250 it reads Dvořák" in error and "as cp1252 it reads Dvoøák" in error
    assert '--encoding NAME, or encoding = "NAME" in the job' in error
    assert "as gb18030 it reads 中文字符" in read(tmp_path / "a.csv", ["中文字符"], "gbk")[2]


def test_what_shows_late_in_a_file_counts(tmp_path):
    """A word behind many others decides as much as the first."""
    path = tmp_path / "a.csv"
    many = "".join(f"{word}{n}\n" for n in range(3_000) for word in ("Müller", "Köln", "Öl")).encode("cp1252")
    path.write_bytes(b"a\n" + many)
    assert survey(path).encoding == "cp1252"
    path.write_bytes(b"a\n" + many * 4 + "Muñoz\n".encode("cp1252"))
    with pytest.raises(FileProblem, match=r"line 2: .* as cp1252 it reads .*Muñoz.*; as cp1250 it reads .*Muńoz"):
        survey(path)


def test_numbers_make_no_new_words(tmp_path):
    """A thousand words that differ in their numbers alone are one word, and outweigh no other."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n" + "".join(f"Öl{n}\n" for n in range(3_000)).encode("cp1252") + "Müller\n".encode("cp1252"))
    assert survey(path).encoding == "cp1252"


def test_a_survey_says_how_the_file_was_read(tmp_path):
    """For the report: format, encoding, what proves it, what divides the cells."""
    (tmp_path / "a.csv").write_bytes("a;b\nMüller;Köln\n".encode("cp1252"))
    found = survey(tmp_path / "a.csv")
    assert found.facts == {"format": "csv", "encoding": "cp1252", "delimiter": ";"}
    assert found.read_as == "read as csv in cp1252, by words such as Müller, cells divided by ;"
    (tmp_path / "b.csv").write_text("a\tb\n1\t2\n")
    assert survey(tmp_path / "b.csv").read_as == "read as csv in utf-8, cells divided by tab"


def test_encodings_of_seven_bits_are_no_utf_8(tmp_path):
    """What looks like ASCII is not: their escape sequences give them away."""
    assert "iso2022_jp" in read(tmp_path / "a.csv", ["アイテム"], "iso2022_jp")[2]


def test_every_encoding_is_one_that_python_knows():
    """And has one byte for each character."""
    assert all(len(b"\x41\x61".decode(encoding)) == 2 for encoding in ONE_BYTE)

"""The look of the Word document: styles, page and footer put into pandoc's reference document."""

from __future__ import annotations

import re
from importlib import resources

from resilience.reporting.archives import read_parts, write_parts

__all__ = ["reference_document"]

_FONT = "Times New Roman"  # carries Cyrillic and stands on every office computer
_DEFAULTS = (
    f'<w:docDefaults><w:rPrDefault><w:rPr><w:rFonts w:ascii="{_FONT}" w:hAnsi="{_FONT}" '
    f'w:cs="{_FONT}" w:eastAsia="{_FONT}"/><w:sz w:val="22"/><w:szCs w:val="22"/></w:rPr>'
    "</w:rPrDefault><w:pPrDefault/></w:docDefaults>"
)
_NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
_FOOTER = (
    f'<?xml version="1.0" encoding="UTF-8"?><w:ftr {_NAMESPACES}><w:p><w:pPr>'
    '<w:pStyle w:val="PageNumber"/></w:pPr><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r>'
    '<w:instrText xml:space="preserve"> PAGE </w:instrText></w:r><w:r>'
    '<w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>1</w:t></w:r><w:r>'
    '<w:fldChar w:fldCharType="end"/></w:r></w:p></w:ftr>'
)
_FOOTER_TYPE = (
    '<Override PartName="/word/footer1.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.footer+xml"/>'
)
_FOOTER_LINK = (
    '<Relationship Id="rIdFooter" Target="footer1.xml" Type='
    '"http://schemas.openxmlformats.org/officeDocument/2006/relationships/footer"/>'
)
# A4 upright; left 25 mm for the binding, the other margins 15 and 20 mm, in twentieths of a point.
_PAGE = (
    '<w:sectPr><w:footerReference w:type="default" r:id="rIdFooter"/>'
    '<w:pgSz w:w="11906" w:h="16838"/><w:pgMar w:top="1134" w:right="850" w:bottom="1134" '
    'w:left="1417" w:header="567" w:footer="567" w:gutter="0"/></w:sectPr>'
)


def reference_document(default: bytes) -> bytes:
    """Return pandoc's default reference document with this library's styles, page and footer.

    Parameters
    ----------
    default : bytes
        What ``pandoc --print-default-data-file reference.docx`` prints.
    """
    parts = read_parts(default)
    parts["word/styles.xml"] = _styles(parts["word/styles.xml"].decode("utf-8")).encode("utf-8")
    body = re.sub(
        r"<w:sectPr\b.*?</w:sectPr>|<w:sectPr\b[^>]*/>",
        "",
        parts["word/document.xml"].decode("utf-8"),
        flags=re.DOTALL,
    )
    parts["word/document.xml"] = body.replace("</w:body>", f"{_PAGE}</w:body>").encode("utf-8")
    parts["word/footer1.xml"] = _FOOTER.encode("utf-8")
    for name, end, addition in (
        ("[Content_Types].xml", "</Types>", _FOOTER_TYPE),
        ("word/_rels/document.xml.rels", "</Relationships>", _FOOTER_LINK),
    ):
        whole = parts[name].decode("utf-8")
        parts[name] = whole.replace(end, addition + end).encode("utf-8")
    return write_parts(parts)


def _styles(whole: str) -> str:
    source = resources.files("resilience.reporting").joinpath("word_styles.xml")
    own = re.findall(r"<w:style\b.*?</w:style>", source.read_text(encoding="utf-8"), re.DOTALL)
    whole = re.sub(r"<w:docDefaults>.*?</w:docDefaults>", _DEFAULTS, whole, flags=re.DOTALL)
    for style in own:
        identifier = re.search(r'w:styleId="(\w+)"', style)
        name = identifier[1] if identifier else ""
        pattern = rf'<w:style\b[^>]*w:styleId="{name}"[^>]*>.*?</w:style>'
        whole = re.sub(pattern, "", whole, flags=re.DOTALL)
    return whole.replace("</w:styles>", "".join(own) + "</w:styles>")
